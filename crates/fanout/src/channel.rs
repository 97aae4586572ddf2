//! The port from a door to the same door of other nodes: short messages on named channels, for whoever reads them now.
//!
//! A door holds the channels that somebody reads here. Nothing is stored, numbered or repeated: what is lost while a node is
//! disconnected stays lost.

use async_trait::async_trait;

/// A message of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelMessage {
    /// The channel.
    pub channel: String,
    /// What was published.
    pub message: Vec<u8>,
}

/// At most once to every other node that holds the channel, in the order of the calls; never blocks.
#[async_trait]
pub trait ChannelFanout: Send + Sync {
    /// Publishes to the other nodes that hold the channel.
    fn publish(&self, channel: &str, message: &[u8]);

    /// This node receives the channel's messages from here on.
    fn hold(&self, channel: &str);

    /// Nobody reads the channel here any more.
    fn release(&self, channel: &str);

    /// Waits until a held channel's messages arrive; a second at most.
    async fn heard(&self, channel: &str);

    /// The next message of another node. For one caller.
    async fn next(&self) -> ChannelMessage;
}

/// A process that runs alone.
#[async_trait]
impl ChannelFanout for () {
    fn publish(&self, _: &str, _: &[u8]) {}

    fn hold(&self, _: &str) {}

    fn release(&self, _: &str) {}

    async fn heard(&self, _: &str) {}

    async fn next(&self) -> ChannelMessage {
        std::future::pending().await
    }
}
