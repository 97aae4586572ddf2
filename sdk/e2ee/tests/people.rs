//! Two people, their devices, and a directory that is not to be trusted.

use std::collections::BTreeMap;

use barrage_e2ee::device::{Device, Error};
use barrage_e2ee::keys::{Claimed, OneTimeKey, Published, SignedKey, Upload};

/// What a server would keep.
#[derive(Default)]
struct Directory(BTreeMap<(String, String), Upload>);

impl Directory {
    fn join(&mut self, user: &str, id: &str) -> Device {
        let mut device = Device::new(user, id);
        self.0.insert((user.into(), id.into()), device.upload(0));
        device.published();
        device
    }

    fn of(&self, user: &str) -> Vec<Published> {
        let own = self.0.iter().filter(|((owner, _), _)| owner == user);
        own.map(|((_, id), upload)| Published {
            device_id: id.clone(),
            identity_key: upload.identity_key.clone(),
            signing_key: upload.signing_key.clone(),
            signature: upload.signature.clone(),
        })
        .collect()
    }

    fn claim(&mut self, user: &str) -> Vec<Claimed> {
        let devices = self.of(user);
        let mut claim = |device: Published| {
            let upload = self.0.get_mut(&(user.into(), device.device_id.clone())).expect("there");
            let next = upload.one_time_keys.keys().next().cloned();
            let next = next.and_then(|id| upload.one_time_keys.remove_entry(&id));
            let one_time = next.map(|(key_id, SignedKey { key, signature })| OneTimeKey {
                key_id,
                key,
                signature,
                fallback: false,
            });
            Claimed { one_time_key: one_time.or_else(|| upload.fallback_key.clone()), device_id: device.device_id }
        };
        devices.into_iter().map(&mut claim).collect()
    }

    fn introduce(&mut self, device: &mut Device, users: &[&str]) {
        for user in users {
            device.trust(user, &self.of(user)).expect("trusted");
            if !device.unreached(user).is_empty() {
                device.reach(user, &self.claim(user)).expect("reached");
            }
        }
    }
}

const BOTH: &[&str] = &["alice", "bob"];

#[test]
fn two_people_and_a_second_device_read_what_is_written() {
    let mut directory = Directory::default();
    let (mut alice, mut tablet) = (directory.join("alice", "phone"), directory.join("alice", "tablet"));
    let mut bob = directory.join("bob", "laptop");
    for device in [&mut alice, &mut tablet, &mut bob] {
        directory.introduce(device, BOTH);
    }
    for round in 0..3 {
        let text = format!("晚上好 {round}");
        let sent = alice.encrypt("bob", &text).expect("encrypted");
        assert!(!sent.contains("晚上好"));
        assert_eq!(bob.decrypt("alice", "bob", &sent).expect("read"), text);
        assert_eq!(tablet.decrypt("alice", "bob", &sent).expect("read on the other device"), text);
        assert!(matches!(bob.decrypt("alice", "bob", &sent), Err(Error::Decryption(_))), "read twice");
        assert!(matches!(alice.decrypt("alice", "bob", &sent), Err(Error::NotForUs)), "the writer keeps its own text");
        let answer = bob.encrypt("alice", "好").expect("encrypted");
        assert_eq!(alice.decrypt("bob", "alice", &answer).expect("read"), "好");
        assert_eq!(tablet.decrypt("bob", "alice", &answer).expect("read"), "好");
    }
}

#[test]
fn a_device_that_comes_later_cannot_read_what_was_written_before() {
    let mut directory = Directory::default();
    let (mut alice, mut bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.introduce(&mut alice, BOTH);
    directory.introduce(&mut bob, BOTH);
    let before = alice.encrypt("bob", "before").expect("encrypted");
    let mut late = directory.join("bob", "late");
    directory.introduce(&mut late, BOTH);
    assert!(matches!(late.decrypt("alice", "bob", &before), Err(Error::NotForUs)));
    directory.introduce(&mut alice, BOTH);
    let after = alice.encrypt("bob", "after").expect("encrypted");
    assert_eq!(late.decrypt("alice", "bob", &after).expect("read"), "after");
    assert_eq!(bob.decrypt("alice", "bob", &after).expect("out of order is fine"), "after");
    assert_eq!(bob.decrypt("alice", "bob", &before).expect("read"), "before");
}

#[test]
fn codes_agree_until_a_device_is_slipped_in() {
    let mut directory = Directory::default();
    let (mut alice, mut bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.introduce(&mut alice, BOTH);
    directory.introduce(&mut bob, BOTH);
    let code = alice.verification_code("bob");
    assert_eq!(code, bob.verification_code("alice"));
    assert_eq!(code.split(' ').map(str::len).collect::<Vec<_>>(), [5; 12]);
    assert!(code.bytes().all(|byte| byte.is_ascii_digit() || byte == b' '));
    directory.join("bob", "ghost");
    directory.introduce(&mut alice, BOTH);
    assert_ne!(alice.verification_code("bob"), bob.verification_code("alice"), "only alice was shown the ghost");
}

#[test]
fn a_directory_cannot_change_or_invent_keys() {
    let mut directory = Directory::default();
    let (mut alice, bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.introduce(&mut alice, &["bob"]);
    let mut forged = directory.of("bob");
    forged[0].identity_key = Directory::default().join("eve", "e").upload(0).identity_key;
    assert!(matches!(Device::new("carol", "c").trust("bob", &forged), Err(Error::Keys(_))), "not signed");
    let impostor = Directory::default().join("bob", "b").upload(0);
    directory.0.insert(("bob".into(), "b".into()), impostor);
    assert!(matches!(alice.trust("bob", &directory.of("bob")), Err(Error::Changed(who)) if who == "bob/b"));
    let before = alice.verification_code("bob");
    alice.forget("bob");
    directory.introduce(&mut alice, &["bob"]);
    assert_ne!(alice.verification_code("bob"), before);
    drop(bob);
    let impostor = Directory::default().join("alice", "a").upload(0);
    directory.0.insert(("alice".into(), "a".into()), impostor);
    assert!(matches!(alice.trust("alice", &directory.of("alice")), Err(Error::Impostor)));
}

#[test]
fn one_time_keys_of_another_device_are_refused() {
    let mut directory = Directory::default();
    let mut alice = directory.join("alice", "a");
    directory.join("bob", "b");
    directory.join("eve", "e");
    alice.trust("bob", &directory.of("bob")).expect("trusted");
    let mut claimed = directory.claim("bob");
    claimed[0].one_time_key = directory.claim("eve").remove(0).one_time_key;
    assert!(matches!(alice.reach("bob", &claimed), Err(Error::Keys(_))));
    assert!(matches!(alice.encrypt("bob", "x"), Err(Error::Unreachable(who)) if who == "bob"));
}

#[test]
fn nobody_on_the_way_can_show_a_message_as_another() {
    let mut directory = Directory::default();
    let (mut alice, mut bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.join("eve", "e");
    directory.introduce(&mut alice, BOTH);
    directory.introduce(&mut bob, &["alice", "bob", "eve"]);
    let sent = alice.encrypt("bob", "x").expect("encrypted");
    assert!(matches!(bob.decrypt("alice", "carol", &sent), Err(Error::Misattributed)));
    let sent = alice.encrypt("bob", "x").expect("encrypted").replace("\"from_device\":\"a\"", "\"from_device\":\"e\"");
    assert!(bob.decrypt("eve", "bob", &sent).is_err());
    for broken in [
        "",
        "{}",
        "[]",
        "\"text\"",
        "{\"v\":1,\"from_device\":\"a\",\"devices\":{\"bob/b\":{\"type\":0,\"body\":\"AAAA\"}}}",
    ] {
        assert!(bob.decrypt("alice", "bob", broken).is_err(), "{broken}");
    }
}

#[test]
fn a_fallback_key_serves_when_the_others_are_gone_but_repeats_nothing() {
    let mut directory = Directory::default();
    let mut bob = directory.join("bob", "b");
    directory.0.values_mut().for_each(|upload| upload.one_time_keys.clear());
    for name in ["p", "q"] {
        let mut phone = directory.join("alice", name);
        directory.introduce(&mut phone, &["bob"]);
        let sent = phone.encrypt("bob", name).expect("encrypted");
        directory.introduce(&mut bob, &["alice"]);
        assert_eq!(bob.decrypt("alice", "bob", &sent).expect("read"), name);
        assert!(bob.decrypt("alice", "bob", &sent).is_err(), "the first message again");
    }
}

#[test]
fn both_may_start_at_once_and_settle_on_one_session() {
    let mut directory = Directory::default();
    let (mut alice, mut bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.introduce(&mut alice, BOTH);
    directory.introduce(&mut bob, BOTH);
    let (one, two) = (alice.encrypt("bob", "1").expect("encrypted"), bob.encrypt("alice", "2").expect("encrypted"));
    assert_eq!(bob.decrypt("alice", "bob", &one).expect("read"), "1");
    assert_eq!(alice.decrypt("bob", "alice", &two).expect("read"), "2");
    for round in 0..4 {
        let sent = alice.encrypt("bob", "more").expect("encrypted");
        assert_eq!(bob.decrypt("alice", "bob", &sent).expect("read"), "more", "{round}");
        let sent = bob.encrypt("alice", "back").expect("encrypted");
        assert_eq!(alice.decrypt("bob", "alice", &sent).expect("read"), "back", "{round}");
    }
}

#[test]
fn a_device_goes_on_where_it_was_saved() {
    let mut directory = Directory::default();
    let (mut alice, mut bob) = (directory.join("alice", "a"), directory.join("bob", "b"));
    directory.introduce(&mut alice, BOTH);
    directory.introduce(&mut bob, BOTH);
    let key = [7; 32];
    for round in 0..3 {
        let sent = alice.encrypt("bob", "x").expect("encrypted");
        let saved = alice.save(&key).expect("saved");
        assert!(Device::restore(&saved, &[8; 32]).is_err(), "another key");
        alice = Device::restore(&saved, &key).expect("restored");
        assert_eq!(bob.decrypt("alice", "bob", &sent).expect("read"), "x", "{round}");
        let answer = bob.encrypt("alice", "y").expect("encrypted");
        bob = Device::restore(&bob.save(&key).expect("saved"), &key).expect("restored");
        assert_eq!(alice.decrypt("bob", "alice", &answer).expect("read"), "y", "{round}");
    }
    assert_eq!(alice.verification_code("bob"), bob.verification_code("alice"));
    assert!(Device::restore("{}", &key).is_err());
}
