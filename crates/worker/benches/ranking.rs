//! The ranking with a million users: one update, and a snapshot of all places that may be asked for.

#![allow(missing_docs)] // What criterion's macros make.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use model::UserId;
use worker::ranking::{PLACES_MAX, Ranking, USERS_MAX};

/// A plain multiplicative generator: the same users in every run.
fn rolls() -> impl FnMut(usize) -> usize {
    let mut state = 1u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(state) * below as u128) >> 64) as usize
    }
}

/// A few speak much and most speak once or twice, as in a real room.
fn speaker(roll: &mut impl FnMut(usize) -> usize) -> usize {
    let below = 1 + roll(USERS_MAX);
    roll(below)
}

fn ranking(c: &mut Criterion) {
    let users: Vec<_> = (0..USERS_MAX).map(|n| UserId::new(&format!("user-{n:07}")).expect("an id")).collect();
    let mut ranking = Ranking::new();
    for user in &users {
        ranking.add(user, user.as_str(), 1);
    }
    let mut roll = rolls();
    let mut update = move |ranking: &mut Ranking| {
        let user = &users[speaker(&mut roll)];
        ranking.add(user, user.as_str(), 1);
    };
    for _ in 0..2_000_000 {
        update(&mut ranking);
    }

    let mut group = c.benchmark_group("ranking, 1,000,000 users");
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    group.bench_function("update", |b| b.iter(|| update(&mut ranking)));
    group.bench_function("top 10,000", |b| b.iter(|| black_box(ranking.top(PLACES_MAX))));
    group.bench_function("top 10,000 after 10,000 updates", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                (0..10_000).for_each(|_| update(&mut ranking));
                let started = Instant::now();
                black_box(ranking.snapshot(PLACES_MAX));
                spent += started.elapsed();
            }
            spent
        });
    });
    group.bench_function("top 10,000, nothing changed", |b| b.iter(|| black_box(ranking.snapshot(PLACES_MAX))));
    group.bench_function("top 100", |b| b.iter(|| black_box(ranking.top(100))));
    group.finish();
}

criterion_group!(benches, ranking);
criterion_main!(benches);
