//! Plan → sockets: which user connects where, as what, from which address. Pure but for signing tokens.

use std::net::Ipv4Addr;

use anyhow::ensure;

use crate::adapter::Adapter;
use crate::conn::{Role, Spec};
use crate::options::{Protocol, Scenario, Transport};
use crate::scenario::{Plan, room_id};
use crate::target::Address;

/// Sockets that connect from one address: the kernel finds a free port slowly once half of them are taken.
const PER_ADDRESS: usize = 8_000;

/// The sockets: those that write first. Both kinds are spread over the target's servers.
///
/// # Errors
/// When the plan and the protocol contradict each other, or a token cannot be signed.
pub fn specs(plan: &Plan, target: &Address) -> anyhow::Result<Vec<Spec>> {
    let way_in = if plan.scenario == Scenario::Publish { plan.protocol } else { Protocol::Json };
    ensure!(
        way_in != Protocol::Bin || plan.rooms.count == 1,
        "binary comments go to the room of their socket: use --rooms 1"
    );
    let mut specs = Vec::with_capacity(plan.rooms.viewers + plan.slow + plan.senders);
    for i in 0..plan.senders {
        let (role, room) = match plan.party {
            0 => (Role::Sender, room_id(0)),
            _ => (Role::Member, target.group(i / plan.party)),
        };
        let spec = spec(target, role, i, specs.len(), room)?;
        let spec = match way_in {
            Protocol::Json | Protocol::Proto => Spec { protocol: way_in, ..spec },
            Protocol::Bin => {
                let target = format!("/ws?room_id={}&max_per_s=0&token={}", spec.room, spec.credential);
                Spec { target, joins: true, protocol: way_in, ..spec }
            }
        };
        // Whose way in is measured, or who is given messages, has the transport of those who read.
        let measured = plan.scenario == Scenario::Publish || role == Role::Member;
        specs.push(if measured { carried(spec, target) } else { spec });
    }
    for i in 0..plan.rooms.viewers {
        let room = room_id(plan.rooms.of_viewer(i));
        let spec = spec(target, Role::Viewer, i, specs.len(), room)?;
        specs.push(carried(Spec { protocol: plan.protocol, deflate: plan.deflate, ..spec }, target));
    }
    for i in 0..plan.slow {
        let role = if i.is_multiple_of(2) { Role::Slow } else { Role::Stalled };
        let spec = spec(target, role, i, specs.len(), room_id(0))?;
        specs.push(Spec { protocol: plan.protocol, deflate: plan.deflate, ..spec });
    }
    Ok(specs)
}

/// The same socket over the target's transport.
fn carried(spec: Spec, target: &Address) -> Spec {
    let Some(transport) = target.transport.filter(|transport| transport.is_quic()) else { return spec };
    let protocol = if spec.protocol == Protocol::Proto { "&protocol=proto" } else { "" };
    let datagrams = if transport == Transport::WtDatagrams { "&datagrams=true" } else { "" };
    let path = format!("{}{protocol}{datagrams}", spec.target.replacen("/ws?", "/wt?", 1));
    Spec { transport, target: path, ..spec }
}

/// The name of a user who chats.
#[must_use]
pub fn member(i: usize) -> String {
    format!("member-{i}")
}

/// Whom the `seq`-th private message goes to: anybody but its writer.
#[must_use]
pub fn other_member(writer: &str, seq: u32, members: usize) -> String {
    let i = (seq as usize + members / 2) % members.max(1);
    let first = member(i);
    if first == writer { member((i + 1) % members.max(1)) } else { first }
}

/// The `i`-th socket of its role, the `n`-th of all.
fn spec(target: &Address, role: Role, i: usize, n: usize, room: String) -> anyhow::Result<Spec> {
    let (adapter, joins) = (target.adapter, !role.sends());
    let user = match role {
        Role::Sender => format!("sender-{i}"),
        Role::Member => member(i),
        Role::Viewer => format!("viewer-{i}"),
        Role::Slow | Role::Stalled => format!("slow-{i}"),
    };
    let server = target.server(role, i)?;
    let credential = if adapter.wants_key(role) { target.key() } else { target.token(&user)? };
    let path = match adapter {
        Adapter::Barrage if joins => format!("/ws?room_id={room}&token={credential}"),
        Adapter::Barrage => format!("/ws?token={credential}"),
        other => other.path(role, &room),
    };
    let (loopback, block) = (server.address.ip() == Ipv4Addr::LOCALHOST, n / PER_ADDRESS);
    let from = loopback.then(|| Ipv4Addr::new(127, 0, (block / 200) as u8, (block % 200 + 2) as u8));
    let (address, host) = (server.address, server.host.clone());
    Ok(Spec {
        role,
        adapter,
        server: address,
        host,
        target: path,
        room,
        credential,
        user,
        joins,
        protocol: Protocol::Json,
        deflate: false,
        from,
        transport: if server.tls { Transport::Wss } else { Transport::Ws },
        tls: server.tls.then_some(target.handshakes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_to_himself() {
        for members in 2..9 {
            for seq in 0..40 {
                let writer = member(seq as usize % members);
                assert_ne!(other_member(&writer, seq, members), writer);
            }
        }
    }
}
