//! The share of computation in PyTorch profiler averages
//! (`artifacts/torch_profiling_averages/torch_profiling_averages.csv`).
//!
//! The file has summed self times by name, so what overlaps is in it twice and a union cannot be
//! taken: the share is that of summed kernel time, and says so.

use std::path::Path;

use super::schema::Computation;
use super::statistics::mean;
use super::store::{StoreError, read_text};

const FILE: &str = "artifacts/torch_profiling_averages/torch_profiling_averages.csv";
const MAX_BYTES: u64 = 64 << 20;

/// Words that only communication has in its name: libraries of both vendors, MPI, and the
/// operations of `torch.distributed`, Horovod and DeepSpeed.
const COMMUNICATION: [&str; 16] = [
    "nccl",
    "rccl",
    "mpi_",
    "mpi:",
    "gloo",
    "c10d",
    "horovod",
    "allreduce",
    "all_reduce",
    "allgather",
    "all_gather",
    "reducescatter",
    "reduce_scatter",
    "alltoall",
    "all_to_all",
    "broadcast_oop",
];

/// Does a kernel or operation communicate, by its name?
#[must_use]
fn is_communication(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    COMMUNICATION.iter().any(|word| name.contains(word))
}

/// The share over the ranks whose files lie in these run folders; `None` if there are none.
pub(super) fn computation(folders: &[&Path]) -> Result<Option<Computation>, StoreError> {
    let mut shares = Vec::new();
    for folder in folders {
        if let Some(text) = read_text(&folder.join(FILE), MAX_BYTES)? {
            shares.extend(shares_by_rank(&text));
        }
    }
    let Some(compute) = mean(&shares) else {
        return Ok(None);
    };
    let extreme = |better: fn(f64, f64) -> f64| shares.iter().copied().reduce(better);
    Ok(Some(Computation {
        compute,
        compute_min: extreme(f64::min).unwrap_or(compute),
        compute_max: extreme(f64::max).unwrap_or(compute),
        communication: Some(1.0 - compute),
        exposed: None,
        overlap: None,
        io: None,
        idle: None,
        method: "share of summed kernel self times (PyTorch profiler), communication by name; \
                 overlap is counted twice"
            .to_owned(),
    }))
}

/// Computing / all self time on the GPU, one a rank.
fn shares_by_rank(text: &str) -> Vec<f64> {
    let mut lines = records(text);
    let Some(header) = lines.next() else {
        return Vec::new();
    };
    let column = |name: &str| header.iter().position(|title| title == name);
    let (Some(name), Some(time)) = (column("name"), column("self_cuda_time_total")) else {
        return Vec::new();
    };
    let rank = column("global_rank");
    let mut by_rank = std::collections::BTreeMap::<String, (f64, f64)>::new();
    for line in lines {
        let Some(time_us) = line.get(time).and_then(|time| time.parse::<f64>().ok()) else {
            continue;
        };
        let of = rank
            .and_then(|rank| line.get(rank))
            .cloned()
            .unwrap_or_default();
        let sums = by_rank.entry(of).or_default();
        let communicates = line.get(name).is_some_and(|name| is_communication(name));
        if time_us.is_finite() && time_us >= 0.0 {
            sums.0 += if communicates { 0.0 } else { time_us };
            sums.1 += time_us;
        }
    }
    let shares = by_rank.into_values().filter(|sums| sums.1 > 0.0);
    shares.map(|sums| sums.0 / sums.1).collect()
}

/// The records of a CSV file with quotes, as kernels' names need them.
fn records(text: &str) -> impl Iterator<Item = Vec<String>> {
    let mut rest = text.chars().peekable();
    std::iter::from_fn(move || {
        rest.peek()?;
        let mut fields = vec![String::new()];
        let mut quoted = false;
        while let Some(c) = rest.next() {
            let field = fields.last_mut()?;
            match c {
                '"' if quoted && rest.peek() == Some(&'"') => {
                    rest.next();
                    field.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                '\n' if !quoted => break,
                '\r' if !quoted => {}
                c => field.push(c),
            }
        }
        Some(fields)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_commas_and_quotes_are_read_and_both_vendors_are_known() {
        let csv = "name,node_id,self_cuda_time_total,strategy,num_gpus,global_rank\n\
                   \"void gemm<float, \"\"x\"\">\",0,60,ddp,2,0\n\
                   nccl:all_reduce,0,40,ddp,2,0\n\
                   Cijk_Alik,0,90,ddp,2,1\n\
                   ncclDevKernel_AllReduce_Sum_f32_RING_LL,0,10,ddp,2,1\n";
        assert_eq!(shares_by_rank(csv), [0.6, 0.9]);
        assert!(is_communication("rcclGenericKernel"));
        assert!(!is_communication("aten::mm"));
        assert!(shares_by_rank("").is_empty());
        assert!(shares_by_rank("strategy,num_gpus\nddp,2\n").is_empty());
    }
}
