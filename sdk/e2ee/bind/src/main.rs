//! `bind MODULE.wasm DIRECTORY`: writes `e2ee.js`, `e2ee.d.ts` and `e2ee_bg.wasm` for browsers.

use wasm_bindgen_cli_support::Bindgen;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(module), Some(directory)) = (args.next(), args.next()) else {
        panic!("usage: bind MODULE.wasm DIRECTORY");
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(module).web(true).expect("a target").typescript(true).remove_name_section(true);
    bindgen
        .remove_producers_section(true)
        .omit_default_module_path(false)
        .out_name("e2ee")
        .generate(directory)
        .expect("written");
}
