//! `bench`: the load generator, which also starts this program as the server it measures.

/// Measures, prints a table, and writes the report when asked.
pub fn run(options: &bench::Options) -> anyhow::Result<()> {
    bench::run(options)
}
