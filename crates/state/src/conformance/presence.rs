//! The suite of [`Presence`].

use std::sync::Arc;

use model::UserId;

use super::AWAY;
use crate::presence::Presence;

/// Runs every case, as one process sees it.
///
/// # Panics
/// When the backend breaks the port's promise.
pub async fn suite(presence: Arc<dyn Presence>, tag: &str, now_ms: i64) {
    let user = |who: &str| UserId::new(&format!("{tag}:here:{who}")).expect("a short tag");
    let (ann, bo, cy) = (user("ann"), user("bo"), user("cy"));
    let here = async |expected: [bool; 3], why: &str| {
        let asked = [ann.clone(), bo.clone(), cy.clone()];
        assert_eq!(presence.online(&asked, now_ms).await.expect(AWAY), expected, "{why}");
    };
    here([false; 3], "nobody is here who never came").await;
    assert!(presence.renew(now_ms).await.expect(AWAY).is_empty(), "the first lease");
    assert!(!presence.leave(&ann, 1, now_ms).await.expect(AWAY), "who was not here does not go");
    assert!(presence.enter(&ann, 1, now_ms).await.expect(AWAY), "the first socket is a coming");
    assert!(!presence.enter(&ann, 2, now_ms).await.expect(AWAY), "the second is none");
    presence.enter(&ann, 2, now_ms).await.expect(AWAY);
    assert!(presence.enter(&cy, 3, now_ms).await.expect(AWAY));
    here([true, false, true], "in the order that was asked for").await;
    assert!(presence.renew(now_ms).await.expect(AWAY).is_empty(), "of those who are here nobody went");
    assert!(!presence.leave(&ann, 1, now_ms).await.expect(AWAY), "one of two sockets is no going");
    assert!(presence.leave(&ann, 2, now_ms).await.expect(AWAY), "the last one is");
    assert!(!presence.leave(&ann, 2, now_ms).await.expect(AWAY), "once");
    here([false, false, true], "who left").await;
    assert!(presence.enter(&ann, 4, now_ms).await.expect(AWAY), "and comes again");
    a_crowd_of_sockets(presence, bo, now_ms).await;
}

/// Sockets of one user that come and go at once are one coming and one going.
async fn a_crowd_of_sockets(presence: Arc<dyn Presence>, user: UserId, now_ms: i64) {
    for came in [true, false] {
        let sockets = (0..50u64).map(|socket| {
            let (presence, user) = (presence.clone(), user.clone());
            tokio::spawn(async move {
                match came {
                    true => presence.enter(&user, socket, now_ms).await.expect(AWAY),
                    false => presence.leave(&user, socket, now_ms).await.expect(AWAY),
                }
            })
        });
        let mut changes = 0;
        for socket in sockets.collect::<Vec<_>>() {
            changes += usize::from(socket.await.expect("no panic"));
        }
        assert_eq!(changes, 1, "one of a crowd is the first, one the last");
        assert_eq!(presence.online(std::slice::from_ref(&user), now_ms).await, Ok(vec![came]));
    }
}
