//! `hearth serve`.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::App;
use crate::config::Config;
use crate::db::Db;
use crate::{http, keys, registry};

/// Serves until Ctrl-C or a termination signal, then drains.
pub(super) async fn serve(config: Config) -> Result<()> {
    // What can fail for a wrong flag comes before anything is made.
    require_key(&config).await?;
    let listener = TcpListener::bind(config.addr).await.with_context(|| {
        format!(
            "cannot listen on {}: is another server there? `--addr 127.0.0.1:PORT` takes another, PORT 0 any free one",
            config.addr
        )
    })?;
    let app = App::open(config).await?;
    let _lock = lock(&app.config)?;
    let address = listener.local_addr()?;
    // One line that programs can wait for.
    println!("hearth listens on http://{address}");
    std::io::stdout().flush()?;
    let starting = app.clone();
    tokio::spawn(async move {
        if let Err(error) = registry::import::nano(&starting.registry).await {
            tracing::error!("cannot register {}: {error:#}", registry::NANO);
        }
        starting.settled.store(true, Ordering::Release);
    });
    let supervisor = tokio::spawn(app.jobs.clone().supervise());
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(http::serve(app.clone(), listener, until(stopped)));
    wait_for_signal().await?;
    eprintln!("Stopping: running answers end, jobs save a checkpoint. Once more stops at once.");
    tokio::select! {
        () = drain(&app, stop, server) => {}
        _ = wait_for_signal() => eprintln!("Stopped."),
    }
    supervisor.abort();
    Ok(())
}

/// Refuses to be reached from other machines without a key. A folder that is not there yet has none, and is not made to find that out.
async fn require_key(config: &Config) -> Result<()> {
    if config.is_loopback() || (Db::is_in(&config.data_dir) && keys::any(&Db::open(&config.data_dir).await?).await?) {
        return Ok(());
    }
    bail!(
        "{} can be reached from other machines, and there is no API key. Make one with\n  hearth key create --data-dir {}\n\
         and start again, or serve on 127.0.0.1.",
        config.addr,
        config.data_dir.display()
    )
}

async fn drain(app: &App, stop: watch::Sender<bool>, server: tokio::task::JoinHandle<Result<()>>) {
    let _ = stop.send(true);
    let patience = app.config.drain;
    let answers = async {
        if tokio::time::timeout(patience, server).await.is_err() {
            tracing::warn!("some answers did not end in time");
        }
    };
    tokio::join!(answers, app.jobs.drain(), app.pulls.stop());
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupt = tokio::signal::ctrl_c() => interrupt?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Two servers on one data directory would both run its jobs. The lock goes with the process, however it ends.
fn lock(config: &Config) -> Result<File> {
    let path = config.path("server.lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    // After a kill the former server's lock may take a moment to go.
    for _ in 0..50 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!("another `hearth serve` uses {}", config.data_dir.display())
}
