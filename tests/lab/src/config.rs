//! The files that Slurm reads, as text. Pure: no file is touched here.

use std::fmt::Write as _;
use std::path::Path;

/// The one partition of a lab.
pub(crate) const PARTITION: &str = "debug";

/// Lifetime of a launch credential. A requeued job waits for the old one to expire before it
/// may start, two minutes by default: too long for a test that kills slurmctld.
const CREDENTIAL_S: u32 = 30;

/// Everything that the generated files depend on.
#[derive(Debug)]
pub(crate) struct SlurmConfig<'a> {
    pub(crate) dir: &'a Path,
    /// The user who runs all daemons.
    pub(crate) user: &'a str,
    pub(crate) nodes: u32,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) gpus: u32,
    pub(crate) controller_port: u16,
    pub(crate) first_node_port: u16,
    /// The port of slurmdbd, if there is one.
    pub(crate) database_port: Option<u16>,
    /// Whether slurmctld takes the tokens that it signs.
    pub(crate) tokens: bool,
    /// Lines of the caller; Slurm takes the last of two equal keys.
    pub(crate) extra: &'a str,
}

impl SlurmConfig<'_> {
    /// The names of all nodes in Slurm's notation.
    fn node_range(&self) -> String {
        format!("n[1-{}]", self.nodes)
    }

    pub(crate) fn slurm_conf(&self) -> String {
        let dir = self.dir.display();
        let user = self.user;
        // `TmpFS` per node keeps the PMIx servers of the nodes apart, `batch_sched_delay` cuts
        // the start of a batch job from two seconds to half a second, the intervals let a
        // restarted slurmctld start queued jobs after five seconds instead of thirty, and `NoInAddrAny` keeps
        // everything on the loopback device.
        let mut text = format!(
            "ClusterName=lab\n\
             SlurmctldHost=localhost(127.0.0.1)\n\
             SlurmctldPort={port}\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             AuthType=auth/munge\n\
             AuthInfo=socket={dir}/munge/munge.sock,cred_expire={CREDENTIAL_S}\n\
             CredType=cred/munge\n\
             CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             StateSaveLocation={dir}/state\n\
             SlurmdSpoolDir={dir}/spool/%n\n\
             SlurmctldPidFile={dir}/run/slurmctld.pid\n\
             SlurmdPidFile={dir}/run/slurmd.%n.pid\n\
             SlurmctldLogFile={dir}/log/slurmctld.log\n\
             SlurmdLogFile={dir}/log/slurmd.%n.log\n\
             TmpFS={dir}/tmp/%n\n\
             PlugStackConfig={dir}/etc/plugstack.conf\n\
             MailProg=/bin/true\n\
             SlurmdParameters=config_overrides\n\
             ReturnToService=2\n\
             SchedulerType=sched/backfill\n\
             SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_Core_Memory\n\
             DefMemPerCPU={memory_per_cpu}\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             SwitchType=switch/none\n\
             MpiDefault=pmix\n\
             JobAcctGatherType=jobacct_gather/linux\n\
             JobAcctGatherFrequency=task=1\n\
             GresTypes=gpu\n\
             KillWait=5\n\
             MessageTimeout=30\n\
             InactiveLimit=0\n\
             MinJobAge=600\n",
            port = self.controller_port,
            memory_per_cpu = self.memory_mib / self.cpus,
        );
        self.write_accounting(&mut text);
        if self.tokens {
            let _ = writeln!(
                text,
                "AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={dir}/state/jwt.key"
            );
        }
        text.push_str(self.extra);
        if !self.extra.is_empty() && !self.extra.ends_with('\n') {
            text.push('\n');
        }
        self.write_nodes(&mut text);
        text
    }

    fn write_accounting(&self, text: &mut String) {
        let Some(port) = self.database_port else {
            text.push_str("AccountingStorageType=accounting_storage/none\n");
            return;
        };
        let _ = writeln!(
            text,
            "AccountingStorageType=accounting_storage/slurmdbd\n\
             AccountingStorageHost=localhost\n\
             AccountingStoragePort={port}\n\
             AccountingStoragePass={}/munge/munge.sock\n\
             AccountingStorageTRES=gres/gpu\n\
             AccountingStoreFlags=job_comment",
            self.dir.display()
        );
    }

    fn write_nodes(&self, text: &mut String) {
        let first = u32::from(self.first_node_port);
        let ports = format!("[{first}-{}]", first + self.nodes - 1);
        let gres = if self.gpus > 0 {
            format!(" Gres=gpu:fake:{}", self.gpus)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports} CPUs={} \
             RealMemory={}{gres}\n\
             PartitionName={PARTITION} Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO",
            self.node_range(),
            self.cpus,
            self.memory_mib
        );
    }

    /// GPUs are character device nodes without a driver: Slurm hands out nothing less.
    pub(crate) fn gres_conf(&self) -> String {
        if self.gpus == 0 {
            return String::new();
        }
        let (nodes, dir, last) = (self.node_range(), self.dir.display(), self.gpus - 1);
        format!("NodeName={nodes} Name=gpu Type=fake File={dir}/dev/nvidia[0-{last}]\n")
    }

    /// With these keys Open MPI's start under `srun --mpi=pmix` races least.
    pub(crate) fn mpi_conf() -> &'static str {
        "PMIxFenceBarrier=true\nPMIxCollFence=tree\nPMIxDirectConn=false\n"
    }

    pub(crate) fn cgroup_conf() -> &'static str {
        "CgroupAutomount=no\n"
    }

    pub(crate) fn slurmdbd_conf(&self, port: u16) -> String {
        let (dir, user) = (self.dir.display(), self.user);
        format!(
            "AuthType=auth/munge\n\
             AuthInfo=socket={dir}/munge/munge.sock\n\
             DbdHost=localhost\n\
             DbdAddr=127.0.0.1\n\
             DbdPort={port}\n\
             CommunicationParameters=NoInAddrAny\n\
             SlurmUser={user}\n\
             DebugLevel=info\n\
             LogFile={dir}/log/slurmdbd.log\n\
             PidFile={dir}/run/slurmdbd.pid\n\
             StorageType=accounting_storage/mysql\n\
             StorageHost=localhost\n\
             StorageUser={user}\n\
             StorageLoc=slurm_acct_db\n"
        )
    }

    /// `/etc/hosts` of every node: the machine's own, and all nodes.
    pub(crate) fn hosts(&self, machine: &str) -> String {
        let mut text = machine.to_owned();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for node in node_names(self.nodes) {
            let _ = writeln!(text, "127.0.0.1 {node}");
        }
        text
    }
}

/// The names of a lab's nodes: `n1`, `n2`, …
pub(crate) fn node_names(count: u32) -> Vec<String> {
    (1..=count).map(|number| format!("n{number}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(gpus: u32, database_port: Option<u16>) -> SlurmConfig<'static> {
        SlurmConfig {
            dir: Path::new("/lab"),
            user: "root",
            nodes: 2,
            cpus: 4,
            memory_mib: 2000,
            gpus,
            controller_port: 17_000,
            first_node_port: 17_016,
            database_port,
            tokens: false,
            extra: "MinJobAge=10",
        }
    }

    #[test]
    fn nodes_have_ports_and_gpus() {
        let text = config(2, None).slurm_conf();
        let nodes = "NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 \
                     Port=[17016-17017] CPUs=4 RealMemory=2000 Gres=gpu:fake:2\n";
        assert!(text.contains(nodes), "{text}");
        assert!(text.contains("AccountingStorageType=accounting_storage/none\n"));
        let gres = "NodeName=n[1-2] Name=gpu Type=fake File=/lab/dev/nvidia[0-1]\n";
        assert_eq!(config(2, None).gres_conf(), gres);
        assert_eq!(config(0, None).gres_conf(), "");
    }

    #[test]
    fn lines_of_the_caller_come_after_the_labs_own() {
        let text = config(0, Some(17_001)).slurm_conf();
        assert!(text.contains("AccountingStoragePort=17001\n"));
        let place = |line: &str| text.find(line).unwrap();
        assert!(place("MinJobAge=600\n") < place("MinJobAge=10\n"));
        assert!(place("MinJobAge=10\n") < place("NodeName="));
    }

    #[test]
    fn every_node_is_in_the_hosts_file() {
        let hosts = config(0, None).hosts("127.0.0.1 localhost");
        assert_eq!(hosts, "127.0.0.1 localhost\n127.0.0.1 n1\n127.0.0.1 n2\n");
    }
}
