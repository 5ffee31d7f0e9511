//! Real brokers as child processes on free ports: Mosquitto, the NATS server, RabbitMQ. Each can be
//! stopped and started again with what it kept; all end with the test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::harness::free_address;

/// A broker; ended on drop.
pub(crate) struct Broker {
    pub(crate) port: u16,
    /// What it listens at besides, by the protocol.
    pub(crate) more: Vec<u16>,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    ready: fn(&Broker) -> bool,
    child: Option<Child>,
    beside: Option<Child>,
    claims: Vec<UnixListener>,
}

/// Finds a server program; says what is skipped if its package is not there.
pub(crate) fn find(name: &str, package: &str) -> Option<PathBuf> {
    let folders = [
        "/usr/sbin",
        "/usr/bin",
        "/usr/local/sbin",
        "/usr/lib/rabbitmq/bin",
    ];
    // Debian's own wrapper of RabbitMQ wants another user.
    let found = folders
        .iter()
        .rev()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("SKIP: no {name}; `make packages` installs {package}");
    }
    found
}

impl Broker {
    fn new(program: PathBuf, folder: &Path) -> Self {
        let (address, claim) = free_address();
        Self {
            port: address.port(),
            more: Vec::new(),
            claims: vec![claim],
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            log: folder.join("broker-log"),
            ready: |broker| TcpStream::connect(("127.0.0.1", broker.port)).is_ok(),
            child: None,
            beside: None,
        }
    }

    /// Mosquitto with a password for `ann`, which keeps its sessions.
    pub(crate) fn mosquitto(folder: &Path) -> Option<Self> {
        let program = find("mosquitto", "mosquitto")?;
        let hash = find("mosquitto_passwd", "mosquitto")?;
        let mut broker = Self::new(program, folder);
        let (port, users) = (broker.port, folder.join("mosquitto-users"));
        fs::write(&users, "ann:correct horse\n").unwrap();
        let made = Command::new(hash).arg("-U").arg(&users).status().unwrap();
        assert!(made.success());
        let config = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nuser root\n\
             persistence true\npersistence_location {}/\nautosave_interval 1\n\
             autosave_on_changes true\nmax_queued_messages 100000\n",
            users.display(),
            folder.display()
        );
        fs::write(&config, text).unwrap();
        broker.arguments = vec!["-c".into(), config.to_str().unwrap().into()];
        broker.start();
        Some(broker)
    }

    /// NATS with JetStream.
    pub(crate) fn nats(folder: &Path) -> Option<Self> {
        let program = find("nats-server", "nats-server")?;
        let mut broker = Self::new(program, folder);
        let port = broker.port;
        let store = folder.join("jetstream");
        broker.arguments = ["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]
            .map(str::to_owned)
            .into();
        broker.arguments.push(store.to_str().unwrap().to_owned());
        broker.start();
        Some(broker)
    }

    /// RabbitMQ with its own folders, cookie and port mapper.
    pub(crate) fn rabbit(folder: &Path) -> Option<Self> {
        let mut broker = Self::rabbit_with(folder, "")?;
        broker.start();
        Some(broker)
    }

    /// RabbitMQ with its own plugin for STOMP; `more` are the ports of it and of it over TLS,
    /// whose certificate is `server.pem`.
    pub(crate) fn rabbit_stomp(folder: &Path) -> Option<Self> {
        let mut broker = Self::rabbit_with(folder, "rabbitmq_stomp")?;
        let [plain, tls] = broker.free_ports();
        broker.more = vec![plain, tls];
        let made = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=broker",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", "server.key", "-out", "server.pem"])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let file = |name: &str| folder.join(name).display().to_string();
        let config = fs::read_to_string(folder.join("rabbit.conf")).unwrap();
        let config = format!(
            "{config}stomp.listeners.tcp.1 = 127.0.0.1:{plain}\n\
             stomp.listeners.ssl.1 = 127.0.0.1:{tls}\nssl_options.verify = verify_none\n\
             ssl_options.cacertfile = {0}\nssl_options.certfile = {0}\nssl_options.keyfile = {1}\n",
            file("server.pem"),
            file("server.key")
        );
        fs::write(folder.join("rabbit.conf"), config).unwrap();
        // The plugins start after the port of AMQP is open.
        broker.ready = |broker| {
            let is_open = |port: &u16| TcpStream::connect(("127.0.0.1", *port)).is_ok();
            broker.more.iter().all(is_open)
        };
        broker.start();
        Some(broker)
    }

    fn free_ports<const N: usize>(&mut self) -> [u16; N] {
        [(); N].map(|()| {
            let (address, claim) = free_address();
            self.claims.push(claim);
            address.port()
        })
    }

    fn rabbit_with(folder: &Path, plugins: &str) -> Option<Self> {
        let program = find("rabbitmq-server", "rabbitmq-server")?;
        let mapper = find("epmd", "rabbitmq-server")?;
        let mut broker = Self::new(program, folder);
        let port = broker.port;
        let [mapper_port, distribution] = broker.free_ports();
        // Else Erlang leaves one running.
        let beside = Command::new(mapper)
            .args(["-port", &mapper_port.to_string(), "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        broker.beside = Some(beside);
        let base = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path).unwrap();
            path.to_str().unwrap().to_owned()
        };
        fs::write(folder.join("plugins"), format!("[{plugins}].")).unwrap();
        fs::write(
            folder.join("rabbit.conf"),
            format!("listeners.tcp.1 = 127.0.0.1:{port}\n"),
        )
        .unwrap();
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        broker.environment = [
            ("HOME", base("home")),
            ("ERL_EPMD_PORT", mapper_port.to_string()),
            ("RABBITMQ_NODENAME", "mizar@localhost".to_owned()),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("RABBITMQ_MNESIA_BASE", base("mnesia")),
            ("RABBITMQ_LOG_BASE", base("logs")),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("RABBITMQ_CONFIG_FILE", file("rabbit.conf")),
            ("RABBITMQ_CONF_ENV_FILE", file("no-env")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
            // Two schedulers and no spinning: it shares the machine with other tests.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none".to_owned(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        Some(broker)
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // RabbitMQ is a script with children.
            .process_group(0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let started = Instant::now();
        while !(self.ready)(self) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            let told = || fs::read_to_string(&self.log).unwrap_or_default();
            assert!(ended.is_none(), "the broker ended: {}", told());
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "not ready: {}",
                told()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::SIGTERM);
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = killpg(Pid::from_raw(child.id().cast_signed()), signal);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            if let Ok(Some(_)) = child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
        if let Some(mut beside) = self.beside.take() {
            let _ = beside.kill();
            let _ = beside.wait();
        }
    }
}
