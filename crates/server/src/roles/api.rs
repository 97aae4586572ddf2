//! The role `api`: HTTP for everybody and for administrators, and the pages.
//!
//! Every process serves health and metrics; the role adds the rest.

use std::net::SocketAddr;
use std::sync::Arc;

use api::{AdminKey, ApiSettings, EmbeddedPages, Origins, ReaderShares, SegmentSigner, WebTransportInfo};
use model::Role;

use crate::server::Core;

/// What one reader may use of this node.
pub fn shares(core: &Core<'_>) -> ReaderShares {
    let limits = &core.config.limits;
    ReaderShares::new(limits.reads_per_user_per_s, limits.streams_per_user, core.metrics.clone())
}

/// How the API behaves on this node.
pub fn settings(
    core: &Core<'_>,
    origins: Origins,
    segment_signer: SegmentSigner,
    certificate_hash: Option<String>,
) -> ApiSettings {
    let Core { config, roles, name, dev, .. } = core;
    ApiSettings {
        node_id: name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        serves_api: roles.has(Role::Api),
        dev: *dev,
        admin_key: (!config.auth.admin_key.is_empty()).then(|| Arc::new(AdminKey::new(&config.auth.admin_key))),
        origins,
        webtransport: config.server.quic.then(|| WebTransportInfo {
            port: config.server.quic_listen.parse().ok().map(|listen: SocketAddr| listen.port()),
            certificate_hash,
        }),
        embedded_pages: EmbeddedPages { embed: config.doors.embed, overlay: config.doors.overlay },
        body_bytes_max: config.limits.body_bytes_max,
        // An envelope is JSON in a JSON string: each of its quotes takes a backslash more.
        message_body_bytes_max: config
            .limits
            .body_bytes_max
            .max(config.chat.encrypted_bytes_max as usize * 2)
            .max(config.escaped_bytes_max()),
        segment_signer,
    }
}
