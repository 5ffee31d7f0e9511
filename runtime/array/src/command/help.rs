//! What `mizar cube` prints about itself.

use std::fmt::Write as _;

use crate::ops::{Operator, operators};

const OVERVIEW: &str = "\
Run CDO operators on NetCDF files and Zarr stores, over any number of MPI ranks and threads.

Usage: mizar cube [options] -operator[,parameter...] infile... outfile
       mizar cube [options] run FILE [--set NAME=VALUE]... [--check]

Operators chain from right to left; the first dash is optional; [ ] groups inputs. A quoted pattern
('tas_*.nc') or a folder stands for its files in the order of their names: one input with the steps
of all, or as many inputs for operators that take any number. An input may lie on a server
(http://, https://, s3://bucket/key): a NetCDF file or a Zarr store, of which only the chunks that
are needed are read; 's3://bucket/tas_*.nc' is a pattern too.

Examples:
  mizar cube -timmean in.nc out.nc
  mizar cube -timmean -sellonlatbox,0,90,0,45 in.nc out.nc
  mizar cube -ymonsub in.nc -ymonmean -seldate,1981-01-01,2010-12-31 in.nc anomaly.nc
  mizar cube -z zip_5 -b F64 -fldmean -selname,tas in.nc out.nc
  srun -n 4 mizar cube -yearmean in.nc out.nc
  mizar cube --chunks time=365,lat=45,lon=90 -copy in.nc out.zarr
  mizar cube -fldmean -seldate,2020-07-01,2020-07-31 s3://bucket/tas.zarr july.nc

Options:
  -b F32|F64                          type of the data written (as read)
  --cdo                               CDO's numbers where these differ: groups by time stamps, 32-bit
                                      integers stay so, minc and maxc fill gaps, a median is missing
                                      where any value is
  -f nc4|zarr                         format of the output: NetCDF-4, Zarr 3 (zarr for OUT.zarr)
  -h, --help [operator]               this text, or that of an operator
  --json                              print JSON: what operators tell, a summary of a run
  -k auto|grid|lines                  chunks of data: by size, a horizontal field, a line of it
  -O                                  replace an existing output where cat would append to it
  -P N                                threads (SLURM_CPUS_PER_TASK, else all CPUs)
  -s                                  no progress and no warnings
  -z zip_N|zstd_N|none                compression: deflate 1 to 9 (zip_1 for NetCDF-4), Zstandard 1
                                      to 22 (zstd_3 for Zarr; in NetCDF-4 its readers need the filter)
  --chunks auto|DIM=N|all,...         lengths of chunks of data, by dimension: time=1,lat=90,lon=all
  --chunkspec x=N,y=N,z=N,t=N         the same by axis, as in CDO
  --memory N[K|M|G]                   what a rank keeps of series that are read whole (256M)
  --percentile METHOD                 nrank, nist, rtype8, linear, hazen, lower, higher, midpoint
  --operators                         list the operators
  --plan                              print what would be read, held, moved and written, the memory
                                      and time to ask Slurm for, and do nothing
  --plot FILE.png|FILE.svg            draw the first variable of the result too
  --timestat_date first|middle|last   which step gives a group its time (middle of its bounds)

Pipelines: run FILE computes the outputs that a YAML or JSON file names, in one run:
  inputs: {tas: \"${DATA}/tas_*.nc\"}            # files by name; --set DATA=/data gives ${DATA}
  steps:                                        # each takes inputs and steps before it
    - {name: months, operator: monmean, input: tas}
    - {name: cycle, operator: ymonmean, input: months}
    - {name: anomaly, operator: ymonsub, input: [months, cycle]}
    - {name: summer, operator: selmon, arguments: [6/8], input: anomaly}
  outputs: {anomaly.nc: anomaly, summer.nc: summer}
  options: -z zip_5                             # as on the command line, which wins
--check prints the command lines that do the same.

Environment:
  MIZAR_COMM=auto|single|mpi          whether ranks of an MPI launcher work together (auto)
  MIZAR_SOCKET                        mizard's socket, told of inputs and outputs for provenance
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_PROFILE
                                      who reads s3:// (~/.aws/credentials and ~/.aws/config too);
                                      AWS_SKIP_SIGNATURE=true reads public data without keys
  AWS_ENDPOINT_URL                    an S3 service that is not Amazon's: https://HOST
  SSL_CERT_FILE, HTTPS_PROXY          own certificate authorities; a proxy

Results have the same bits for any number of ranks and threads. Missing values are skipped by
statistics and spread by arithmetic; where a variable names no fill value, NetCDF's default one
is missing too (CDO takes it for a number). An output appears whole or not at all, and replaces
what had its name: a file, a Zarr store, but no other folder.

Exit codes: 0 done, 1 failed, 2 wrong command line.
";

/// The text of `mizar cube --help`.
#[must_use]
pub fn overview() -> &'static str {
    OVERVIEW
}

/// One line per operator.
#[must_use]
pub fn operator_list() -> String {
    let width = operators()
        .iter()
        .map(|operator| operator.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for operator in operators() {
        let _ = writeln!(text, "{:width$}  {}", operator.name, operator.summary);
    }
    text
}

/// What one operator does.
#[must_use]
pub fn operator_help(operator: &Operator) -> String {
    let Operator {
        name,
        summary,
        details,
        example,
        ..
    } = operator;
    let usage = operator.usage();
    format!(
        "{name}: {summary}\n\nUsage: mizar cube -{usage}\n\n{details}\n\nExample:\n  mizar cube {example}\n"
    )
}
