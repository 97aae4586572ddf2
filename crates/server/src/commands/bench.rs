//! `bench`: the load generator. It also starts this program as the server under test.

/// Measures, prints a table, and writes the report if requested.
pub fn run(options: &bench::Options) -> anyhow::Result<()> {
    bench::run(options)
}
