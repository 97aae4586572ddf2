//! What one user and one address may use of the server, so that the others have the rest.

mod addresses;
mod chat;
mod reads;
mod sockets;
mod uploads;
