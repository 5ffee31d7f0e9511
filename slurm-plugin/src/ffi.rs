//! Slurm's C interface: what it gives (items, environment, log) and what it wants (symbols).
//!
//! The only module with `unsafe`; declared by hand after `slurm/spank.h`, which has kept these
//! declarations since 20.11. Everything C can see passes [`guard`].

#![allow(unsafe_code, reason = "Slurm loads C symbols and passes C pointers")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::hooks;

mod c {
    use super::{c_char, c_int, c_void};

    pub(super) type OptionCallback = extern "C" fn(c_int, *const c_char, c_int) -> c_int;

    /// `struct spank_option`; Slurm copies it, strings included.
    #[repr(C)]
    pub(super) struct SpankOption {
        pub(super) name: *const c_char,
        pub(super) arginfo: *const c_char,
        pub(super) usage: *const c_char,
        pub(super) has_arg: c_int,
        pub(super) val: c_int,
        pub(super) callback: Option<OptionCallback>,
    }

    unsafe extern "C" {
        pub(super) fn spank_context() -> c_int;
        pub(super) fn spank_option_register(
            spank: *mut c_void,
            option: *const SpankOption,
        ) -> c_int;
        pub(super) fn spank_get_item(spank: *mut c_void, item: c_int, ...) -> c_int;
        pub(super) fn spank_setenv(
            spank: *mut c_void,
            name: *const c_char,
            value: *const c_char,
            overwrite: c_int,
        ) -> c_int;
        pub(super) fn slurm_error(format: *const c_char, ...);
        pub(super) fn slurm_info(format: *const c_char, ...);
        pub(super) fn slurm_debug(format: *const c_char, ...);
    }
}

/// `ESPANK_SUCCESS`; also what a hook returns when all is well.
const SUCCESS: c_int = 0;
/// What a hook or callback returns to stop Slurm.
const FAILURE: c_int = -1;
/// `NO_VAL`, Slurm's "unset" for 32 bits.
const NO_VAL: u32 = 0xffff_fffe;
/// `has_arg` of an option whose argument may be left out.
const OPTIONAL_ARGUMENT: c_int = 2;

/// Where Slurm has loaded the plugin (`enum spank_context`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// srun.
    Local,
    /// slurmstepd.
    Remote,
    /// sbatch and salloc.
    Allocator,
    /// slurmd itself.
    Slurmd,
    /// The helper that slurmd starts for prolog and epilog.
    JobScript,
    /// None of these, says Slurm.
    Unknown,
}

/// Asks Slurm for the context.
pub(crate) fn context() -> Context {
    // SAFETY: takes nothing and may be called from any hook.
    match unsafe { c::spank_context() } {
        1 => Context::Local,
        2 => Context::Remote,
        3 => Context::Allocator,
        4 => Context::Slurmd,
        5 => Context::JobScript,
        _ => Context::Unknown,
    }
}

/// Items of `enum spank_item` with a `uint32_t` or `int` of 32 bits.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(crate) enum Item32 {
    Uid = 0,
    Gid = 1,
    JobId = 2,
    StepId = 3,
    NodeCount = 4,
    NodeIndex = 5,
    LocalTaskCount = 6,
    TaskCount = 7,
    LocalTaskId = 11,
    GlobalTaskId = 12,
    ExitStatus = 13,
    TaskPid = 14,
    RestartCount = 29,
    ArrayJobId = 30,
    ArrayTaskId = 31,
}

const S_JOB_NCPUS: c_int = 8;
const S_JOB_ARGV: c_int = 9;
const S_JOB_ENV: c_int = 10;
const S_JOB_LOCAL_TO_GLOBAL_ID: c_int = 17;
const S_JOB_ALLOC_MEM: c_int = 26;

/// The `spank_t` of one hook call; not to be kept after it.
#[derive(Debug)]
pub(crate) struct Spank(*mut c_void);

impl Spank {
    /// An item of 32 bits; `None` if Slurm does not have it here.
    pub(crate) fn item(&self, item: Item32) -> Option<u32> {
        let mut value = NO_VAL;
        // SAFETY: the handle is the current hook's; each `Item32` takes one pointer to 32 bits.
        let code = unsafe { c::spank_get_item(self.0, item as c_int, &raw mut value) };
        (code == SUCCESS && value != NO_VAL).then_some(value)
    }

    /// CPUs of the step on this node (of the job in its batch script).
    pub(crate) fn cpus(&self) -> Option<u32> {
        let mut value = 0_u16;
        // SAFETY: the handle is the current hook's; the item takes a pointer to 16 bits.
        let code = unsafe { c::spank_get_item(self.0, S_JOB_NCPUS, &raw mut value) };
        (code == SUCCESS && value > 0).then_some(u32::from(value))
    }

    /// Memory of the job on this node; 0 is Slurm's "not limited".
    pub(crate) fn memory_mib(&self) -> Option<u64> {
        let mut value = 0_u64;
        // SAFETY: the handle is the current hook's; the item takes a pointer to 64 bits.
        let code = unsafe { c::spank_get_item(self.0, S_JOB_ALLOC_MEM, &raw mut value) };
        (code == SUCCESS && value > 0).then_some(value)
    }

    /// The global rank of a task of this node.
    pub(crate) fn global_rank(&self, local_rank: u32) -> Option<u32> {
        let mut value = NO_VAL;
        // SAFETY: the handle is the current hook's; the item takes a `uint32_t` and a pointer
        // to one.
        let code = unsafe {
            c::spank_get_item(self.0, S_JOB_LOCAL_TO_GLOBAL_ID, local_rank, &raw mut value)
        };
        (code == SUCCESS && value != NO_VAL).then_some(value)
    }

    /// The program and its arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut count: c_int = 0;
        let mut list: *const *const c_char = std::ptr::null();
        // SAFETY: the handle is the current hook's; the item takes an `int *` and a `char ***`.
        let code = unsafe { c::spank_get_item(self.0, S_JOB_ARGV, &raw mut count, &raw mut list) };
        if code != SUCCESS {
            Vec::new()
        } else {
            texts(count, list)
        }
    }

    /// A variable of the job's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let mut entry: *const *const c_char = std::ptr::null();
        // SAFETY: the handle is the current hook's; the item takes a `char ***`.
        let code = unsafe { c::spank_get_item(self.0, S_JOB_ENV, &raw mut entry) };
        if code != SUCCESS || entry.is_null() {
            return None;
        }
        // SAFETY: Slurm's environment is an array of C strings that ends with a null pointer,
        // and nothing changes it while the hook reads.
        while let Some(text) = unsafe { (*entry).as_ref() } {
            // SAFETY: as above; a non-null entry is a C string.
            let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
            if let Some(value) = text
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('='))
            {
                return Some(value.to_owned());
            }
            // SAFETY: the entry was not the final null, so the next one exists.
            entry = unsafe { entry.add(1) };
        }
        None
    }

    /// Sets a variable for the task or, before the fork, for all of them. Allocates nothing
    /// itself: it also runs in the forked task.
    pub(crate) fn set_variable(&self, name: &CStr, value: &CStr) -> bool {
        // SAFETY: the handle is the current hook's; Slurm copies both strings.
        let code = unsafe { c::spank_setenv(self.0, name.as_ptr(), value.as_ptr(), 1) };
        code == SUCCESS
    }

    /// Makes `--mizar` known; only inside `slurm_spank_init`.
    pub(crate) fn register_option(&self) -> bool {
        let option = c::SpankOption {
            name: c"mizar".as_ptr(),
            arginfo: c"[on|off|key=value,...]".as_ptr(),
            usage: c"watch this job with Mizar and set up its ranks' rendezvous; keys: sample=<n>hz, <n>s or <n>ms; comm; require".as_ptr(),
            has_arg: OPTIONAL_ARGUMENT,
            val: 0,
            callback: Some(option_chosen),
        };
        // SAFETY: the handle is the current hook's; Slurm copies what the struct points to.
        unsafe { c::spank_option_register(self.0, &raw const option) == SUCCESS }
    }
}

/// `list` holds `count` C strings.
fn texts(count: c_int, list: *const *const c_char) -> Vec<String> {
    let count = if list.is_null() {
        0
    } else {
        usize::try_from(count).unwrap_or(0)
    };
    (0..count)
        .map(|index| {
            // SAFETY: Slurm passes `count` valid C strings that outlive the hook call.
            unsafe { CStr::from_ptr(*list.add(index)) }
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// For the user and the log: `srun: error: …`.
pub(crate) fn log_error(message: &str) {
    with_c_text(message, |text| {
        // SAFETY: the format takes one C string.
        unsafe { c::slurm_error(c"%s".as_ptr(), text) }
    });
}

/// For the log of slurmd.
pub(crate) fn log_info(message: &str) {
    with_c_text(message, |text| {
        // SAFETY: the format takes one C string.
        unsafe { c::slurm_info(c"%s".as_ptr(), text) }
    });
}

/// For those who raise the log level.
pub(crate) fn log_debug(message: &str) {
    with_c_text(message, |text| {
        // SAFETY: the format takes one C string.
        unsafe { c::slurm_debug(c"%s".as_ptr(), text) }
    });
}

/// User text is an argument, never the format, and starts by saying who speaks.
fn with_c_text(message: &str, log: impl FnOnce(*const c_char)) {
    let text = CString::new(format!("mizar: {}", message.replace('\0', "\u{fffd}")));
    log(text.unwrap_or_default().as_ptr());
}

/// One byte that the tasks see change after they were forked.
#[derive(Debug)]
pub(crate) struct SharedFlag(&'static AtomicU8);

impl SharedFlag {
    /// A cleared flag on a page of its own, kept until slurmstepd ends.
    pub(crate) fn new() -> Option<Self> {
        // SAFETY: a fresh anonymous mapping touches no memory in use.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU8>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the page is zeroed, aligned, never unmapped and only used as this atomic.
        Some(Self(unsafe { &*page.cast::<AtomicU8>() }))
    }

    pub(crate) fn raise(&self) {
        self.0.store(1, Ordering::Release);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }
}

/// Ends the forked task instead of letting it become the user's program. A failing hook would
/// not: of a plugin that is `optional` in plugstack.conf Slurm ignores that, and of a required
/// one it takes a batch script's failure for the node's and drains it.
pub(crate) fn end_task(code: i32) -> ! {
    // SAFETY: ends the process at once, which runs nothing of slurmstepd's that fork copied.
    unsafe { libc::_exit(code) }
}

/// Runs a hook so that no panic reaches Slurm, which it would abort. The panic itself is
/// logged by the plugin's panic hook; Slurm is told that all is well, and goes on.
fn guard(hook: &'static str, body: impl FnOnce() -> bool) -> c_int {
    let done = catch_unwind(AssertUnwindSafe(|| {
        hooks::panic_if_tested(hook);
        body()
    }));
    match done {
        Ok(true) | Err(_) => SUCCESS,
        Ok(false) => FAILURE,
    }
}

extern "C" fn option_chosen(_value: c_int, argument: *const c_char, remote: c_int) -> c_int {
    guard("option", || {
        // SAFETY: Slurm passes null or a C string that outlives the call.
        let text = (!argument.is_null()).then(|| unsafe { CStr::from_ptr(argument) });
        hooks::option_chosen(text.map(CStr::to_string_lossy).as_deref(), remote != 0)
    })
}

/// Identifies the plugin to Slurm's loader.
mod exported {
    #![allow(non_upper_case_globals, reason = "the names are Slurm's")]

    use super::{Spank, c_char, c_int, c_uint, c_void, guard, hooks, texts};

    #[unsafe(no_mangle)]
    static plugin_name: [u8; 6] = *b"mizar\0";
    #[unsafe(no_mangle)]
    static plugin_type: [u8; 6] = *b"spank\0";
    #[unsafe(no_mangle)]
    static plugin_version: c_uint = include!(concat!(env!("OUT_DIR"), "/slurm_version"));
    #[unsafe(no_mangle)]
    static spank_plugin_version: c_uint = 1;

    /// One exported symbol for each hook; `slurm_spank_init` alone needs its arguments, and a
    /// hook that cannot fail for Slurm ends with `true`.
    macro_rules! export {
        ($($symbol:ident => $name:literal, $body:expr;)*) => {$(
            #[unsafe(no_mangle)]
            extern "C" fn $symbol(
                spank: *mut c_void,
                count: c_int,
                arguments: *const *const c_char,
            ) -> c_int {
                let body: fn(&Spank, c_int, *const *const c_char) -> bool = $body;
                guard($name, || body(&Spank(spank), count, arguments))
            }
        )*};
    }

    export! {
        slurm_spank_init => "init", |spank, count, list| hooks::init(spank, &texts(count, list));
        slurm_spank_user_init => "user_init", |spank, _, _| hooks::user_init(spank);
        slurm_spank_task_init => "task_init", |spank, _, _| hooks::task_init(spank);
        slurm_spank_task_post_fork => "task_post_fork", |spank, _, _| hooks::task_post_fork(spank);
        slurm_spank_task_exit => "task_exit", |spank, _, _| hooks::task_exit(spank);
        slurm_spank_exit => "exit", |_, _, _| hooks::exit();
        slurm_spank_job_epilog => "job_epilog", |spank, count, list| {
            hooks::job_epilog(spank, &texts(count, list));
            true // Anything else drains the node.
        };
    }
}
