//! Puts a serving gateway together, and takes it apart again on a signal.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::audit::AuditLog;
use crate::config::Config;
use crate::http::{self, Front};
use crate::identity::Gate;
use crate::ledger::{
    Reader, Writer, configure_conditions, doubt_claims, first_flow, mend_waits, now_ms,
};
use crate::oscar::warm::Warm;
use crate::shared::Shared;
use crate::tls::Acceptor;
use crate::{poller, submit, way};

/// Threads for connections; the work of a request is small, the disk is what it waits for.
const HTTP_THREADS: usize = 2;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the configuration is refused, or the ledger or the address is taken.
pub fn run(path: &Path) -> Result<()> {
    start_log();
    end_with_vital_threads();
    let config = Config::load(path)?;
    let services = config.load_services()?;
    let tokens = config.load_tokens()?;
    let gate = Gate::new(
        tokens,
        config.load_oscar_users()?,
        &config.identity,
        config.has_certificates(),
    );
    if gate.is_open() {
        warn!("no token_file and no [identity]: everybody on this machine may send events");
    }
    let audit = config.audit.as_ref();
    let audit = audit.map(|audit| AuditLog::open(&audit.file)).transpose();
    let audit = audit.context("cannot open the audit log")?;
    let tls = config.tls.clone().map(Acceptor::new).transpose();
    let tls = tls.context("cannot serve TLS")?;
    let ledger = config.ledger_path();
    let (writer, writer_thread) = Writer::open(&ledger)
        .with_context(|| format!("cannot open the ledger {}", ledger.display()))?;
    let reader = Reader::open(&ledger)?;
    let doubtful = writer.write(|connection| doubt_claims(connection, now_ms()))?;
    writer.write(|connection| mend_waits(connection, now_ms()))?;
    let rules: Vec<_> = services
        .iter()
        .filter_map(|service| Some((service.name.clone(), service.rule()?)))
        .collect();
    writer.write(move |connection| configure_conditions(connection, now_ms(), &rules))?;
    for first in &config.included.flows {
        let setting = first.setting().map_err(anyhow::Error::msg)?;
        let service = first.service.clone();
        writer.write(move |connection| first_flow(connection, now_ms(), &service, &setting))?;
    }
    if doubtful > 0 {
        info!(
            jobs = doubtful,
            "looking for jobs that were being submitted when we stopped"
        );
    }
    way::check_helper(&config.slurm, &config.work_dir);
    let scheduler = way::choose(&config.slurm, config.users())
        .map_err(anyhow::Error::msg)
        .context("slurm.slurmrestd")?;
    let listen = config.listen;
    let shared = Arc::new(Shared::new(config, services, writer, reader, scheduler));
    shared.look_at_drain()?;
    if shared.is_draining() {
        warn!("no events are taken until `mizar-gateway resume`");
    }
    let mut threads = submit::start(&shared).context("cannot start the submitters")?;
    threads.push(poller::start(&shared).context("cannot start the poller")?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    threads.extend(crate::webhook::start(&shared).context("cannot start the webhooks")?);
    let stop = watch::Sender::new(false);
    let front = Arc::new(Front {
        shared: Arc::clone(&shared),
        gate,
        tls,
        record: http::Record::new(&shared.config.limits, audit.clone()),
        warm: Warm::new(&shared).context("cannot keep workers")?,
        feed: http::Feed::new(shared.config.limits.listeners, stop.subscribe()),
    });
    let served = runtime.block_on(serve_until_signal(listen, front, stop));
    if let Some(audit) = audit {
        audit.sync();
    }
    shared.stop();
    for thread in threads {
        if thread.join().is_err() {
            warn!("a thread ended by a panic");
        }
    }
    drop(runtime);
    drop(shared);
    if writer_thread.join().is_err() {
        warn!("the ledger's thread ended by a panic");
    }
    info!("stopped");
    served
}

/// Makes a panic in a thread that nothing replaces the end of the process.
///
/// A gateway without its ledger, submitters or poller would go on listening and do nothing.
/// One that ends is started again by its supervisor and goes on where the ledger stands, as
/// after any kill. A panic in a connection ends that connection alone.
fn end_with_vital_threads() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if std::thread::current().name().is_some_and(is_vital) {
            std::process::abort();
        }
    }));
}

fn is_vital(thread: &str) -> bool {
    matches!(thread, "ledger" | "poll" | "dispatch")
        || thread.starts_with("submit-")
        || thread.starts_with("hook-")
}

async fn serve_until_signal(
    listen: std::net::SocketAddr,
    front: Arc<Front>,
    stop: watch::Sender<bool>,
) -> Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr().context("no local address")?;
    let plugin = front.shared.config.interlink.as_ref();
    let plugin = plugin.and_then(|interlink| interlink.socket.as_deref());
    let plugin = plugin.map(crate::interlink::socket::bind).transpose()?;
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("no signal handler")?;
    let mut hang_up = signal(SignalKind::hangup()).context("no signal handler")?;
    let stopped = stop.subscribe();
    if let Some(warm) = &front.warm {
        let started = warm.start(&front.shared, &stopped).await;
        started.context("cannot listen for workers")?;
    }
    info!(%address, services = front.shared.services.len(), "ready");
    let sources = crate::sources::start(&front.shared, &stopped)
        .await
        .context("cannot start the sources")?;
    let plugin = plugin.map(|socket| {
        let (front, stopped) = (Arc::clone(&front), stopped.clone());
        tokio::spawn(crate::interlink::socket::serve(socket, front, stopped))
    });
    let server = tokio::spawn(http::serve(listener, Arc::clone(&front), stopped));
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => again(&front),
        }
    }
    info!("stopping");
    let _ = stop.send(true);
    for source in sources {
        if source.await.is_err() {
            warn!("a source ended by a panic");
        }
    }
    if let Some(plugin) = plugin
        && plugin.await.is_err()
    {
        warn!("the plugin's socket ended by a panic");
    }
    server.await.context("the server ended by a panic")
}

/// SIGHUP: what other programs have changed is opened anew.
fn again(front: &Front) {
    info!("SIGHUP");
    if let Some(log) = &front.record.log {
        log.reopen();
    }
    if let Some(tls) = &front.tls {
        tls.reload();
    }
}

/// Logs to stderr: text for people, JSON for collectors. `MIZAR_LOG` sets the level.
fn start_log() {
    let filter = EnvFilter::try_from_env("MIZAR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        log.try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
    // Only a test that serves twice in one process has a log already.
    drop(started);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_nothing_replaces_are_vital() {
        for name in [
            "ledger",
            "poll",
            "dispatch",
            "submit-0",
            "submit-63",
            "hook-a",
        ] {
            assert!(is_vital(name), "{name}");
        }
        for name in ["main", "tokio-rt-worker", "signal"] {
            assert!(!is_vital(name), "{name}");
        }
    }
}
