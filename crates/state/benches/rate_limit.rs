//! The cost of one decision of the rate limiter, over few and many users, and of refusals.
#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use model::{RoomId, Snowflake, UserId};
use state::{
    FirstAnswer, LimitKey, MemoryRateLimiter, MemoryReservations, Rate, RateLimiter, RateRequest, Reservations,
};

const NOW: i64 = 1_700_000_000_000;

/// The result of a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("memory does not wait"),
    }
}

fn users(n: usize) -> Vec<UserId> {
    (0..n).map(|i| UserId::new(&format!("user-{i}")).expect("an id")).collect()
}

fn request<'a>(user: &'a UserId, room: &'a RoomId, n: u64) -> RateRequest<'a> {
    RateRequest {
        user,
        room,
        user_rate: Rate::per_s(1),
        slow_mode: None,
        room_rate: Rate::per_s(1_000_000),
        global_rate: Rate::per_s(1_000_000),
        text_key: n,
        duplicate_window_ms: 5_000,
        now_ms: NOW + (n / 100).cast_signed(),
    }
}

fn knocks(c: &mut Criterion) {
    let room = RoomId::new("room").expect("an id");
    for count in [1_000, 100_000, 1_000_000] {
        let (limiter, users): (Arc<dyn RateLimiter>, _) = (Arc::new(MemoryRateLimiter::default()), users(count));
        let mut n = 0;
        c.bench_function(&format!("knock, 100k/s over {count} users"), |b| {
            b.iter(|| {
                n += 1;
                now(limiter.admit(black_box(request(&users[n as usize % count], &room, n))))
            });
        });
    }
    let (limiter, users) = (MemoryRateLimiter::default(), users(1));
    c.bench_function("knock refused for its user", |b| {
        b.iter(|| now(limiter.admit(black_box(request(&users[0], &room, 1)))));
    });
    c.bench_function("allow", |b| {
        let key = LimitKey { scope: "like", id: "user-1" };
        b.iter(|| now(limiter.allow(black_box(key), Rate::per_s(1_000_000), NOW)));
    });
}

fn reservations(c: &mut Criterion) {
    let (port, users): (Arc<dyn Reservations>, _) = (Arc::new(MemoryReservations::default()), users(100_000));
    let mut n = 0;
    c.bench_function("reserve and finish", |b| {
        b.iter(|| {
            n += 1;
            let (user, id) = (&users[n as usize % users.len()], Snowflake(n));
            let key = n.to_string();
            let _ = black_box(now(port.reserve(user, &key, id, NOW)));
            now(port.finish(user, &key, FirstAnswer { id, pending_review: false, created_at_ms: NOW }))
        });
    });
}

criterion_group!(benches, knocks, reservations);
criterion_main!(benches);
