//! A bot in Rust: answers `!hello` in a room, and comes back by itself when the server does.
//!
//!     BARRAGE=http://127.0.0.1:8080 TOKEN=… cargo run -p barrage-client --example answer-bot lobby
//!
//! Without a token it is `answer-bot` on a server that was started with `--dev`.

use barrage_client::{Client, ClientOptions, DevIdentity, Error, JoinOptions, RoomItem};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let server = std::env::var("BARRAGE").unwrap_or_else(|_| "http://127.0.0.1:8080".to_owned());
    let options = ClientOptions::new(&server);
    let client = Client::new(match std::env::var("TOKEN") {
        Ok(token) => options.token(&token),
        Err(_) => options.identity(DevIdentity::new("answer-bot")),
    })?;
    client.connect();
    let room = std::env::args().nth(1).unwrap_or_else(|| "lobby".to_owned());
    answer(&client, &room).await
}

/// Answers for as long as the client lives.
pub async fn answer(client: &Client, room: &str) -> Result<(), Error> {
    let room = client.room(room);
    let mut items = room.subscribe();
    room.join(JoinOptions { history: Some(0), ..JoinOptions::default() }).await?;
    println!("answering in {}", room.id());
    while let Some(item) = items.next().await {
        let RoomItem::Comments(batch) = item else { continue };
        for comment in batch.comments.iter().filter(|comment| comment.content == "!hello") {
            match room.comment(format!("hello, {}!", comment.username)).await {
                Ok(_) => println!("answered {}", comment.username),
                Err(error) => println!("could not answer {}: {error}", comment.username),
            }
        }
    }
    Ok(())
}
