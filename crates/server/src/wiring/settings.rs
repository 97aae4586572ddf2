//! From the configuration to the settings of each part. Checked before; nothing here can fail.

use api::{ApiSettings, Origins};
use chat::UploadSettings;
use gateway::GatewaySettings;
use ingest::rooms::RoomRules;
use ingest::{KeyFiles, Limits};
use ipnet::IpNet;
use model::{Role, Roles};
use room::HubSettings;
use state::{CoolDown, HeatRules};

use crate::config::Config;

/// By how much what two nodes publish may come in another order: readers from elsewhere are given so much again.
const REREAD_MS: u64 = 5_000;

pub(super) fn key_files(config: &Config) -> KeyFiles {
    let given = |path: &std::path::PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    KeyFiles { public_key_pem: given(&config.auth.public_key_file), jwks: given(&config.auth.jwks_file) }
}

pub(super) fn room_rules(config: &Config) -> RoomRules {
    RoomRules {
        unopened: config.rooms.unopened,
        silence_ms: i64::from(config.rooms.session_silence_s) * 1_000,
        session_ms_max: i64::from(config.rooms.session_s_max) * 1_000,
        rooms_max: config.rooms.held_max,
    }
}

pub(super) fn heat_rules(config: &Config) -> HeatRules {
    HeatRules { hot_per_s: config.rooms.hot_per_s, shards: config.kafka.hot_shards }
}

pub(super) fn limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        comment_chars_max: limits.comment_chars_max,
        normal_per_s: limits.normal_per_s,
        vip_per_s: limits.vip_per_s,
        owner_per_s: limits.owner_per_s,
        room_per_s: limits.room_per_s,
        global_per_s: limits.global_per_s,
        likes_per_s: limits.likes_per_s,
        duplicate_window_ms: limits.duplicate_window_ms,
        cool_down: CoolDown {
            refusals: limits.cool_down_refusals,
            within_ms: limits.cool_down_within_ms,
            mute_ms: limits.cool_down_mute_ms,
            mute_ms_max: limits.cool_down_mute_ms_max,
        },
        mentions_max: limits.mentions_max,
    }
}

pub(super) fn chat_settings(config: &Config) -> chat::Settings {
    let chat = &config.chat;
    chat::Settings {
        content_chars_max: chat.message_chars_max,
        encrypted_bytes_max: chat.encrypted_bytes_max,
        messages_per_s: chat.messages_per_s,
        burst: chat.burst,
        recall_s: chat.recall_s,
        recall_keeps_content: chat.recall_keeps_content,
        group_members_max: chat.group_members_max,
        offline_days: chat.offline_days,
        history_days: chat.history_days,
        hook_direct: hooked(config, "direct"),
        hook_group: hooked(config, "group"),
    }
}

/// Whether messages of this kind of conversation are noted for the notification hook.
pub(super) fn hooked(config: &Config, kind: &str) -> bool {
    !config.hook.url.is_empty() && config.hook.kinds.iter().any(|known| known == kind)
}

pub(super) fn upload_settings(config: &Config) -> UploadSettings {
    let uploads = &config.uploads;
    UploadSettings {
        image_bytes_max: uploads.image_bytes_max,
        video_bytes_max: uploads.video_bytes_max,
        file_bytes_max: uploads.file_bytes_max,
        types: uploads.types.clone(),
        url_ttl_s: uploads.url_ttl_s,
    }
}

pub(super) fn hub_settings(config: &Config) -> HubSettings {
    let rooms = &config.rooms;
    HubSettings {
        window_ms_max: rooms.window_ms_max,
        viewer_per_s_max: rooms.viewer_per_s_max,
        history_default: rooms.history_default,
        history_max: rooms.history_max,
        history_s_max: rooms.history_s_max,
        only_users_max: rooms.only_users_max,
        deflate_bytes_min: config.sockets.compression_bytes_min,
        rooms_max: rooms.held_max,
        reread_ms: if config.redis.url.is_empty() { 0 } else { REREAD_MS },
    }
}

/// A node's name, in `connected` and in its log.
pub(super) fn node_name(config: &Config, number: u16) -> String {
    format!("{}-{number}", config.server.namespace)
}

pub(super) fn api_settings(config: &Config, roles: Roles, node: &str, dev: bool, origins: Origins) -> ApiSettings {
    ApiSettings {
        node_id: node.to_owned(),
        version: env!("CARGO_PKG_VERSION").into(),
        serves_api: roles.has(Role::Api),
        dev,
        anonymous_read: config.auth.anonymous_read,
        admin_key: (!config.auth.admin_key.is_empty()).then(|| config.auth.admin_key.clone()),
        origins,
        body_bytes_max: config.limits.body_bytes_max,
        // An envelope is JSON in a JSON string: each of its quotes takes a backslash more.
        message_body_bytes_max: config.limits.body_bytes_max.max(config.chat.encrypted_bytes_max as usize * 2),
    }
}

pub(super) fn gateway_settings(config: &Config, roles: Roles, node: &str, dev: bool) -> GatewaySettings {
    let (limits, sockets) = (&config.limits, &config.sockets);
    // The configuration has been checked: each is a network or an address.
    let network = |text: &String| text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into()));
    GatewaySettings {
        node_id: node.to_owned(),
        takes_sockets: roles.has(Role::Gateway),
        dev,
        anonymous_read: config.auth.anonymous_read,
        heartbeat_s: sockets.heartbeat_s,
        handshake_s: sockets.handshake_s,
        login_s: sockets.login_s,
        message_bytes_max: limits.message_bytes_max,
        compression: sockets.compression,
        backlog_bytes_max: sockets.backlog_bytes_max,
        slow_patience_s: sockets.slow_patience_s,
        rooms_per_connection: sockets.rooms_per_socket_max,
        connections_per_address: limits.connections_per_address,
        handshakes_per_address_per_s: limits.handshakes_per_address_per_s,
        trusted_proxies: limits.trusted_proxies.iter().filter_map(|text| network(text).ok()).collect(),
        shards: config.server.shards,
    }
}
