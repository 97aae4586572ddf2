//! The word filter's cost for one comment, and for building it.
//!
//! 50,000 words of two to five common characters (and one in ten an English-looking one) against 30-character comments
//! that hit nothing, as nearly all do, and against the ways of evading.

// criterion's macros make public functions without documentation.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use words::{Filter, Lists, Verdict, fold_key, same_text_key, sanitise};

/// xorshift64, so that every run sees the same words.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn char(&mut self, first: char, range: u64) -> char {
        char::from_u32(u32::from(first) + self.below(range) as u32).unwrap_or(first)
    }

    fn text(&mut self, len: u64, first: char, range: u64) -> String {
        (0..len).map(|_| self.char(first, range)).collect()
    }
}

fn lists(count: usize) -> Lists {
    let mut random = Random(42);
    let mut word = |i: usize| match i % 10 {
        0 => {
            let len = 4 + random.below(5);
            random.text(len, 'a', 26)
        }
        _ => {
            let len = 2 + random.below(4);
            random.text(len, '\u{4e00}', 6000)
        }
    };
    Lists { mask: (0..count).map(&mut word).collect(), ..Lists::default() }
}

/// Comments of 30 characters of one kind, all clean.
fn comments(filter: &Filter, mut make: impl FnMut(&mut Random) -> String) -> Vec<String> {
    let mut random = Random(7);
    let mut clean = Vec::new();
    while clean.len() < 1000 {
        let text = make(&mut random);
        if filter.check(&text) == Verdict::Clean {
            clean.push(text);
        }
    }
    clean
}

fn each(c: &mut Criterion, name: &str, texts: &[String], mut run: impl FnMut(&str)) {
    let mut next = texts.iter().cycle();
    c.bench_function(name, |b| b.iter_batched(|| next.next().map_or("", |t| t), &mut run, BatchSize::SmallInput));
}

fn bench(c: &mut Criterion) {
    let filter = Filter::build(&lists(50_000)).expect("valid words");
    let chinese = comments(&filter, |r| r.text(30, '\u{4e00}', 6000));
    let english = comments(&filter, |r| (0..6).map(|_| r.text(4, 'a', 26) + " ").collect());
    let symbols =
        comments(&filter, |r| (0..15).map(|_| format!("{}{}", r.char('\u{4e00}', 6000), r.char('!', 15))).collect());
    let mixed = comments(&filter, |r| r.text(10, 'А', 32) + &r.text(10, 'a', 26) + &r.text(10, '0', 10));
    let masked: Vec<String> =
        chinese.iter().zip(lists(1000).mask).map(|(t, w)| format!("{w}{t}").chars().take(30).collect()).collect();
    let check = |text: &str| {
        black_box(filter.check(black_box(text)));
    };
    each(c, "check/chinese", &chinese, check);
    each(c, "check/english", &english, check);
    each(c, "check/symbols_inserted", &symbols, check);
    each(c, "check/lookalikes", &mixed, check);
    each(c, "check/masked", &masked, check);
    each(c, "fold_key/chinese", &chinese, |t| {
        black_box(fold_key(t));
    });
    each(c, "same_text_key/chinese", &chinese, |t| {
        black_box(same_text_key(t));
    });
    each(c, "sanitise/chinese", &chinese, |t| {
        black_box(sanitise(t));
    });
    each(c, "sanitise/emoji", &["👨\u{200d}👩\u{200d}👧❤\u{fe0f}".repeat(4)], |t| {
        black_box(sanitise(t));
    });
}

fn build(c: &mut Criterion) {
    let lists = lists(100_000);
    let mut group = c.benchmark_group("build");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    group.bench_function("100k_words", |b| {
        b.iter_custom(|times| {
            let start = Instant::now();
            (0..times).for_each(|_| drop(black_box(Filter::build(&lists))));
            start.elapsed()
        });
    });
    group.finish();
}

criterion_group!(benches, bench, build);
criterion_main!(benches);
