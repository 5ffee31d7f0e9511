//! How fast one core decodes a variable and reduces it, in CPU time, for
//! `cargo run --release --example decode_rate FILE VARIABLE`.
//!
//! Prints the time of opening, of the first use (the chunk index) and of decoding, and MB/s of
//! numbers in memory.

use std::path::Path;

use mizar_array::storage::Source;
use nix::time::{ClockId, clock_gettime};

fn cpu_s() -> Result<f64, nix::Error> {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(now.tv_sec() as f64 + now.tv_nsec() as f64 / 1e9)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, name] = arguments.as_slice() else {
        return Err("usage: decode_rate FILE VARIABLE".into());
    };
    let begin = cpu_s()?;
    let source = Source::open(Path::new(path))?;
    let variable = source
        .dataset()
        .variable_index(name)
        .ok_or("no such variable")?;
    let opened = cpu_s()?;
    let whole = source.dataset().whole(variable);
    let stored_bytes = source.stored_bytes(variable, &whole);
    let indexed = cpu_s()?;
    let steps = whole[0].len();
    let chunk = source.chunk_shape(variable).map_or(1, |chunk| chunk[0]);
    let field: usize = whole[1..].iter().map(ExactSizeIterator::len).product();
    let mut sums = vec![0.0_f64; field];
    let mut counts = vec![0_u32; field];
    let mut values = vec![0.0_f32; field * chunk];
    let mut reading = 0.0;
    for start in (0..steps).step_by(chunk) {
        let end = steps.min(start + chunk);
        let mut region = whole.clone();
        region[0] = start..end;
        let values = &mut values[..field * (end - start)];
        let begin = cpu_s()?;
        source.read_f32(variable, &region, values)?;
        reading += cpu_s()? - begin;
        for step in values.chunks_exact(field) {
            for ((sum, count), &value) in sums.iter_mut().zip(&mut counts).zip(step) {
                let is_valid = !value.is_nan();
                *sum += if is_valid { f64::from(value) } else { 0.0 };
                *count += u32::from(is_valid);
            }
        }
    }
    let done = cpu_s()?;
    let megabytes = (steps * field * 4) as f64 / 1e6;
    println!(
        "open {:.4} s, index {:.4} s",
        opened - begin,
        indexed - opened
    );
    println!(
        "{megabytes:.0} MB ({:.0} MB stored) in {:.2} s: {:.0} MB/s, of reading alone {:.0} MB/s",
        stored_bytes as f64 / 1e6,
        done - indexed,
        megabytes / (done - indexed),
        megabytes / reading
    );
    println!("mean of the first cell {}", sums[0] / f64::from(counts[0]));
    Ok(())
}
