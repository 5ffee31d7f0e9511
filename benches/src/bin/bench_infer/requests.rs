//! Single requests of two clients: our warm server beside loops that call the library in their own
//! process, and beside a server in Python that the same clients ask in the same words.
//!
//! All clients of a measurement begin at once; requests count over the time from there to the last
//! answer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mizar_benches::{Figure, Report, percentile};
use mizar_infer::{Tensor, Values, client};
use serde_json::Value;

use super::{Arguments, Bench, PATIENCE, PROCESSES};

/// What clients found.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) times_s: Vec<f64>,
    /// Requests a second of all together.
    rate: f64,
}

/// The best of several rounds.
struct Best {
    rate: f64,
    p99_ms: f64,
}

impl Best {
    const NONE: Self = Self {
        rate: 0.0,
        p99_ms: f64::INFINITY,
    };

    fn take(&mut self, asked: &Asked) {
        self.rate = self.rate.max(asked.rate);
        self.p99_ms = self.p99_ms.min(percentile(&asked.times_s, 99.0) * 1e3);
    }
}

impl Bench {
    /// Two loops, each in the process that holds its model.
    fn ask_python(&self, model: &str, requests: usize) -> anyhow::Result<Asked> {
        let count = requests.to_string();
        let start = |_| -> std::io::Result<Child> {
            let mut command = self.script(&["ask"], &[model, &count]);
            command.stdin(Stdio::piped()).stderr(Stdio::inherit());
            command.spawn()
        };
        let mut loops = (0..PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = Vec::new();
        for child in &mut loops {
            let mut output = BufReader::new(child.stdout.take().context("no output")?);
            output.read_line(&mut String::new())?;
            outputs.push(output);
        }
        for child in &mut loops {
            child.stdin.take().context("no input")?.write_all(b"\n")?;
        }
        let mut times_s = Vec::new();
        let (mut begun, mut ended) = (f64::INFINITY, 0.0_f64);
        for (mut child, mut output) in loops.into_iter().zip(outputs) {
            let mut text = String::new();
            output.read_to_string(&mut text)?;
            anyhow::ensure!(child.wait()?.success(), "a loop in Python failed");
            let told: Value = serde_json::from_str(&text)?;
            let number = |name: &str| told[name].as_f64().with_context(|| format!("no {name}"));
            begun = begun.min(number("begun_s")?);
            ended = ended.max(number("ended_s")?);
            let times = told["times_s"].as_array().context("no times were told")?;
            times_s.extend(times.iter().filter_map(Value::as_f64));
        }
        let rate = times_s.len() as f64 / (ended - begun);
        Ok(Asked { times_s, rate })
    }

    /// Two clients of a server, each with a connection.
    pub(super) fn ask_server(
        &self,
        server: &Server,
        model: &str,
        requests: usize,
    ) -> anyhow::Result<Asked> {
        let file = self.folder.path().join(format!("{model}.onnx"));
        let all_ready = Barrier::new(PROCESSES);
        let client = || -> anyhow::Result<(Vec<f64>, Instant, Instant)> {
            let loaded = client::load(&server.socket, &file);
            let ready = loaded.map_err(anyhow::Error::from).and_then(|loaded| {
                let mut model = loaded.model;
                let inputs = [sample(
                    model.inputs()[0].shape.as_deref().unwrap_or_default(),
                )?];
                for _ in 0..20 {
                    model.run(&inputs)?;
                }
                Ok((model, inputs))
            });
            // One that failed keeps none waiting.
            all_ready.wait();
            let (mut model, inputs) = ready?;
            let mut times_s = Vec::with_capacity(requests);
            let begun = Instant::now();
            for _ in 0..requests {
                let start = Instant::now();
                model.run(&inputs)?;
                times_s.push(start.elapsed().as_secs_f64());
            }
            Ok((times_s, begun, Instant::now()))
        };
        let mut times_s = Vec::new();
        let mut spans = Vec::new();
        std::thread::scope(|scope| {
            let clients: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(client)).collect();
            for client in clients {
                let died = |_| anyhow::anyhow!("a client died");
                let (own, begun, ended) = client.join().map_err(died)??;
                times_s.extend(own);
                spans.push((begun, ended));
            }
            Ok::<(), anyhow::Error>(())
        })?;
        let begun = spans
            .iter()
            .map(|span| span.0)
            .min()
            .context("no clients")?;
        let ended = spans
            .iter()
            .map(|span| span.1)
            .max()
            .context("no clients")?;
        let rate = times_s.len() as f64 / (ended - begun).as_secs_f64();
        Ok(Asked { times_s, rate })
    }
}

/// One item of any numbers.
fn sample(shape: &[Option<usize>]) -> anyhow::Result<Tensor> {
    let shape: Vec<usize> = shape.iter().map(|len| len.unwrap_or(1)).collect();
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| (i % 97) as f32 / 48.0 - 1.0).collect();
    Ok(Tensor::new(shape, Values::F32(values))?)
}

/// A server that ends with the benchmark.
pub(super) struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    /// `mizar infer --serve`, with as many threads as the loops in Python have together.
    pub(super) fn of_mizar(bench: &Bench) -> anyhow::Result<Self> {
        let socket = bench.folder.path().join("models.sock");
        let mizar = Command::new(mizar_lab::binary("mizar"));
        let mut command = bench.infer(mizar, "conv.onnx", PROCESSES);
        command
            .arg(bench.path("mlp.onnx"))
            .arg("--serve")
            .arg(&socket);
        Self::start(command, socket)
    }

    /// The same protocol by a server of Python.
    fn of_python(bench: &Bench) -> anyhow::Result<Self> {
        let socket = bench.folder.path().join("python.sock");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&bench.python);
        command.arg(here.join("data/infer_server.py")).arg(&socket);
        command.args([bench.path("conv.onnx"), bench.path("mlp.onnx")]);
        command.stdin(Stdio::null());
        Self::start(command, socket)
    }

    fn start(mut command: Command, socket: PathBuf) -> anyhow::Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self {
            process: command.spawn()?,
            socket,
        };
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(&server.socket).is_err() {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Our server beside both peers.
pub(super) fn compare(
    bench: &Bench,
    ours: &Server,
    arguments: &Arguments,
    report: &mut Report,
) -> anyhow::Result<()> {
    let theirs = Server::of_python(bench)?;
    for model in ["conv", "mlp"] {
        let [mut own, mut server, mut loops] = [Best::NONE, Best::NONE, Best::NONE];
        for _ in 0..arguments.rounds.max(1) {
            own.take(&bench.ask_server(ours, model, arguments.requests)?);
            server.take(&bench.ask_server(&theirs, model, arguments.requests)?);
            loops.take(&bench.ask_python(model, arguments.requests)?);
        }
        let name = |what: &str| format!("{model}, {PROCESSES} clients: {what}");
        report.add(Figure::new(name("our server"), own.rate, "requests/s"));
        report.add(Figure::new(name("p99 of our server"), own.p99_ms, "ms"));
        for (peer, best) in [("a server in Python", server), ("loops in Python", loops)] {
            report.add(Figure::new(name(peer), best.rate, "requests/s"));
            report.add(Figure::new(
                name(&format!("p99 of {peer}")),
                best.p99_ms,
                "ms",
            ));
            let over = name(&format!("our server over {peer}"));
            report.add(Figure::new(over, own.rate / best.rate, "times").at_least(1.0));
            let over = name(&format!("p99 over that of {peer}"));
            report.add(Figure::new(over, own.p99_ms / best.p99_ms, "times").at_most(1.0));
        }
    }
    Ok(())
}
