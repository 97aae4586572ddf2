//! What every backend of the key directory must do; called as [`super::suite`] is.

use std::collections::HashSet;
use std::sync::Arc;

use model::DeviceId;

use super::{Case, user};
use crate::keys::{DeviceKeys, KeyLimits, KeyStore, NewKeys, OneTimeKey};

const LIMITS: KeyLimits = KeyLimits { devices_max: 3, one_time_keys_max: 10 };

/// Runs every case, each on a store of its own.
///
/// # Errors
/// The first error of the store; no case expects one.
///
/// # Panics
/// When the backend breaks a promise of the port.
pub async fn suite<S: KeyStore>(fresh: impl Fn() -> S) -> Case {
    keys_are_handed_out_once_and_in_order(&fresh()).await?;
    a_name_is_not_published_twice(&fresh()).await?;
    other_lasting_keys_take_all_with_them(&fresh()).await?;
    what_is_kept_is_bounded(&fresh()).await?;
    many_who_ask_at_once_get_different_keys(Arc::new(fresh())).await
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).expect("a device id")
}

fn one_time(name: &str) -> OneTimeKey {
    OneTimeKey { key_id: name.into(), key: format!("key {name}").into(), signature: format!("by {name}").into() }
}

fn new(of: &str, identity: &str, one_time_keys: std::ops::Range<u32>, at_ms: i64) -> NewKeys {
    let (identity_key, signing_key) = (identity.into(), format!("signing {identity}").into());
    let device = DeviceKeys { device_id: device(of), identity_key, signing_key, signature: "sig".into() };
    let one_time_keys = one_time_keys.map(|n| one_time(&format!("k{n:03}"))).collect();
    NewKeys { device, one_time_keys, fallback_key: None, at_ms }
}

async fn next(store: &impl KeyStore, of: &str) -> crate::Result<Option<(Box<str>, bool)>> {
    let claimed = store.claim_keys(&user("u"), Some(vec![device(of)])).await?;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].device.device_id, device(of));
    Ok(claimed[0].key.as_ref().map(|key| (key.key_id.clone(), claimed[0].fallback)))
}

async fn keys_are_handed_out_once_and_in_order(store: &impl KeyStore) -> Case {
    assert_eq!(store.device_keys(&user("u")).await?, []);
    let first = NewKeys { fallback_key: Some(one_time("fall")), ..new("d", "i", 0..2, 1) };
    assert_eq!(store.publish_keys(&user("u"), first.clone(), LIMITS).await?, 2);
    assert_eq!(store.device_keys(&user("u")).await?, [(first.device.clone(), 2)]);
    assert_eq!(next(store, "d").await?, Some(("k000".into(), false)));
    let rest = store.claim_keys(&user("u"), None).await?;
    assert_eq!((rest[0].key.clone(), rest[0].fallback), (Some(one_time("k001")), false));
    for _ in 0..2 {
        assert_eq!(next(store, "d").await?, Some(("fall".into(), true)), "again and again");
    }
    assert_eq!(store.publish_keys(&user("u"), new("d", "i", 2..3, 2), LIMITS).await?, 1, "the fallback stays");
    assert_eq!(next(store, "d").await?, Some(("k002".into(), false)));
    assert_eq!(next(store, "d").await?, Some(("fall".into(), true)));
    assert_eq!(store.claim_keys(&user("u"), Some(vec![device("other")])).await?, []);
    assert_eq!(store.claim_keys(&user("nobody"), None).await?, []);
    assert!(store.remove_keys(&user("u"), &device("d")).await?);
    assert!(!store.remove_keys(&user("u"), &device("d")).await?);
    assert_eq!(store.claim_keys(&user("u"), None).await?, []);
    Ok(())
}

async fn a_name_is_not_published_twice(store: &impl KeyStore) -> Case {
    store.publish_keys(&user("u"), new("d", "i", 0..3, 1), LIMITS).await?;
    next(store, "d").await?;
    assert_eq!(store.publish_keys(&user("u"), new("d", "i", 0..3, 2), LIMITS).await?, 2, "a retry adds nothing");
    assert_eq!(next(store, "d").await?, Some(("k001".into(), false)));
    assert_eq!(next(store, "d").await?, Some(("k002".into(), false)));
    assert_eq!(next(store, "d").await?, None);
    Ok(())
}

async fn other_lasting_keys_take_all_with_them(store: &impl KeyStore) -> Case {
    let first = NewKeys { fallback_key: Some(one_time("fall")), ..new("d", "i", 0..3, 1) };
    store.publish_keys(&user("u"), first, LIMITS).await?;
    assert_eq!(store.publish_keys(&user("u"), new("d", "j", 0..1, 2), LIMITS).await?, 1);
    assert_eq!(&*store.device_keys(&user("u")).await?[0].0.identity_key, "j");
    assert_eq!(next(store, "d").await?, Some(("k000".into(), false)), "a name of other keys is another");
    assert_eq!(next(store, "d").await?, None, "the old fallback is gone too");
    Ok(())
}

async fn what_is_kept_is_bounded(store: &impl KeyStore) -> Case {
    assert_eq!(store.publish_keys(&user("u"), new("d1", "i", 0..25, 1), LIMITS).await?, 10);
    assert_eq!(next(store, "d1").await?, Some(("k015".into(), false)), "the newest are kept");
    for (n, name) in [(2, "d2"), (3, "d3"), (4, "d1"), (0, "d4")] {
        store.publish_keys(&user("u"), new(name, "i", 0..0, n), LIMITS).await?;
    }
    let kept = store.device_keys(&user("u")).await?;
    let kept: Vec<_> = kept.iter().map(|(keys, _)| keys.device_id.as_str()).collect();
    assert_eq!(kept, ["d1", "d3", "d4"], "who publishes now stays, whatever the clock says");
    Ok(())
}

async fn many_who_ask_at_once_get_different_keys(store: Arc<impl KeyStore>) -> Case {
    store.publish_keys(&user("u"), new("d", "i", 0..100, 1), KeyLimits { one_time_keys_max: 100, ..LIMITS }).await?;
    let asking: Vec<_> = (0..120)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { next(&*store, "d").await })
        })
        .collect();
    let mut given = HashSet::new();
    let mut without = 0;
    for asked in asking {
        match asked.await.expect("no panic")? {
            Some((name, _)) => assert!(given.insert(name), "handed out twice"),
            None => without += 1,
        }
    }
    assert_eq!((given.len(), without), (100, 20));
    Ok(())
}
