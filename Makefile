# The few verbs. Everything else is in scripts/ and bench/.
.PHONY: run test bench

run:
	cargo run --release --bin barrage -- serve --dev

test:
	./scripts/test

# The table of bench/README.md: about fifteen minutes; BENCH_QUICK=1 takes under five.
bench:
	cargo build --release --bin barrage
	./bench/setup
	node bench/run.mjs
