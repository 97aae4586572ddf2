//! `--flood N`: a stranger beside the load, who sends so many first packets of QUIC a second and never goes on. Each is a whole
//! greeting of a client of its own, so a server has to look into it. Started by [`crate::run`] around a measurement.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::options::CpuList;
use crate::target::pin;
use crate::webtransport::first_packet;

/// Different greetings; they begin again when all were sent.
const PACKETS: usize = 4_096;
/// Addresses they come from.
const SOCKETS: usize = 64;
const TICK: Duration = Duration::from_millis(1);

/// A flood that runs. Dropping it ends it.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Begins.
    ///
    /// # Errors
    /// When the system gives no ports or no thread.
    pub fn start(server: SocketAddr, per_s: u32, cpus: &CpuList) -> anyhow::Result<Self> {
        let packets = (0..PACKETS).map(|_| first_packet(server)).collect::<anyhow::Result<Vec<_>>>()?;
        let socket = |_| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.set_nonblocking(true)?;
            socket.connect(server)?;
            Ok(socket)
        };
        let sockets = (0..SOCKETS).map(socket).collect::<std::io::Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, cpus) = (stop.clone(), cpus.clone());
        let thread = std::thread::Builder::new().name("flood".into()).spawn(move || {
            // On any CPU it is a flood as well.
            let _ = pin(&cpus);
            send(&packets, &sockets, per_s, &stopped);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread paces itself and has no runtime")]
fn send(packets: &[Vec<u8>], sockets: &[UdpSocket], per_s: u32, stop: &AtomicBool) {
    let (begun, mut sent) = (Instant::now(), 0_u64);
    while !stop.load(Ordering::Relaxed) {
        let due = (begun.elapsed().as_secs_f64() * f64::from(per_s)) as u64;
        while sent < due {
            let at = sent as usize;
            if let (Some(packet), Some(socket)) = (packets.get(at % packets.len()), sockets.get(at % sockets.len())) {
                // What the kernel does not take is lost.
                let _ = socket.send(packet);
            }
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
