//! The time of day steps: nothing waits for it to come round again.

use serde_json::{Value, json};
use testkit::{Http, Options, Viewer, WrongClock, eventually};

use super::{bearer, rules};
use crate::{BIN, NO_LIMITS};

const TWO_HOURS_S: i64 = 7_200;

/// Says something; after a step back the rates of the user, the room and the deployment each begin anew with a pause.
async fn taken(who: &Http, content: &str) -> Value {
    let reply = async || Some(who.comment("lobby", content).await).filter(|reply| reply.status == 201);
    eventually("the comment to be taken", reply).await.expect(201)
}

#[tokio::test]
async fn a_clock_that_steps_keeps_nobody_waiting_and_the_trail_a_chain() {
    let Some(clock) = WrongClock::off_by(0) else { return };
    let server = clock.rules(Options::new(BIN).config(NO_LIMITS)).start().await;
    // Good for long enough, whatever the server takes the time to be.
    let token = |user: &str, level: &str| bearer(user, json!({ "level": level, "exp": testkit::now_s() + 100_000 }));
    let (ann, ben) = (server.bearing(&token("ann", "admin")), server.bearing(&token("ben", "admin")));
    let alice = server.bearing(&token("alice", "normal"));
    server.admin().put("admin/words", json!({ "review": ["hold"] })).await.is(200);
    rules(&server, "lobby", json!({ "delay_s": 3 })).await;
    let mut bob =
        Viewer::open(server.address(), &format!("room_id=lobby&token={}", token("bob", "normal")), &[]).await.unwrap();
    bob.wait_for("room_joined").await;

    for step_s in [-TWO_HOURS_S, TWO_HOURS_S, 0] {
        let held = taken(&alice, &format!("hold before {step_s}")).await;
        let path = |what: &str| format!("admin/reviews/{}/{what}", held["id"].as_str().unwrap());
        ann.post(&path("claim"), Value::Null).await.is(200);
        ben.post(&path("reject"), Value::Null).await.fails(409, "claimed");
        taken(&alice, &format!("late before {step_s}")).await;
        clock.step_to(step_s);
        ben.post(&path("reject"), Value::Null).await.is(200);
        ann.post(&path("approve"), Value::Null).await.fails(409, "too_late");
        bob.sees(&format!("late before {step_s}")).await;
        taken(&alice, &format!("late after {step_s}")).await;
        bob.sees(&format!("late after {step_s}")).await;
    }
    assert!(!bob.contents().iter().any(|text| text.starts_with("hold")), "{:?}", bob.contents());
    let verified = server.command(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
}
