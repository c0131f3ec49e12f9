//! NVIDIA's libraries, opened when CUDA is first asked for instead of when the program starts.
//!
//! candle links them dynamically, and the system's loader ends a program that lacks one of them before `main`. So every
//! function of theirs that a program here reaches is defined here, as a jump through a slot; the linker then has no use
//! for the libraries and leaves them out. [`load`] opens them and fills the slots, or says what is missing, and a build
//! with CUDA runs on a machine that has never seen a card. A function that is in none of the lists is linked as candle
//! has it: nothing breaks but the start without CUDA, and `just build-cuda` says which library came back.
//!
//! For x86-64 Linux; elsewhere the programs are linked as candle has it and [`load`] has nothing to do.

/// Opens the libraries, once; the reason where one cannot be opened. Functions of theirs may be called after an `Ok`.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn load() -> Result<(), String> {
    Ok(())
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) use lazy::load;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod lazy {
    use std::arch::naked_asm;
    use std::error::Error as _;
    use std::ffi::{c_int, c_uint, c_void};
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

    /// A shared library and what is used of it.
    struct Library {
        /// Its names, the newest first. Their functions are the same but for some that are in no list.
        names: &'static [&'static str],
        /// Where it comes from.
        origin: &'static str,
        functions: &'static [Function],
    }

    /// A function that is defined here in place of the library's.
    struct Function {
        name: &'static str,
        /// Where the definition jumps to.
        slot: &'static AtomicPtr<c_void>,
        /// The definition. Held so that whoever links [`load`] links it.
        #[expect(dead_code, reason = "see above")]
        definition: unsafe extern "C" fn(),
    }

    /// Functions whose slots hold the first argument until [`load`] has filled them.
    macro_rules! functions {
        ($unresolved:expr, $($name:ident)*) => { &[$({
            static SLOT: AtomicPtr<c_void> = AtomicPtr::new($unresolved as *mut c_void);
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                // Arguments, stack and return address stay as they are, so this does for any signature.
                naked_asm!("jmp qword ptr [rip + {slot}]", slot = sym SLOT)
            }
            Function { name: stringify!($name), slot: &SLOT, definition: $name }
        }),*] };
    }

    static INIT: &[Function] = functions!(init, cuInit);

    const DRIVER: &[&str] = &["libcuda.so.1"];
    const TOOLKIT: &str = "it comes with CUDA, or with pip's nvidia-* packages; name its directory in LD_LIBRARY_PATH";

    static LIBRARIES: &[Library] = &[
        Library { names: DRIVER, origin: "it comes with NVIDIA's driver", functions: INIT },
        Library {
            names: DRIVER,
            origin: "it comes with NVIDIA's driver",
            functions: functions!(
                no_library,
                cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuCtxSynchronize cuDeviceGet
                cuDeviceGetAttribute cuDeviceGetCount cuDeviceGetDefaultMemPool cuDeviceGetName
                cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDeviceTotalMem_v2
                cuDriverGetVersion cuEventCreate cuEventDestroy_v2 cuEventRecord
                cuEventSynchronize cuGetErrorString cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2
                cuMemFreeAsync cuMemFreeHost cuMemFree_v2 cuMemGetInfo_v2 cuMemHostAlloc
                cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemcpyDtoDAsync_v2
                cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async
                cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload cuStreamCreate
                cuStreamDestroy_v2 cuStreamIsCapturing cuStreamSynchronize cuStreamWaitEvent
            ),
        },
        Library {
            names: &["libcublas.so.13", "libcublas.so.12"],
            origin: TOOLKIT,
            functions: functions!(
                unreachable,
                cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched
                cublasGemmStridedBatchedEx cublasSetStream_v2 cublasSgemm_v2
            ),
        },
        Library {
            names: &["libcurand.so.10"],
            origin: TOOLKIT,
            functions: functions!(
                unreachable,
                curandCreateGenerator curandDestroyGenerator curandGenerateNormal
                curandGenerateNormalDouble curandGenerateUniform curandGenerateUniformDouble
                curandSetPseudoRandomGeneratorSeed curandSetStream
            ),
        },
        #[cfg(feature = "cudnn")]
        Library {
            names: &["libcudnn.so.9"],
            origin: TOOLKIT,
            functions: functions!(
                unreachable,
                cudnnActivationForward cudnnAddTensor cudnnConvolutionBiasActivationForward
                cudnnConvolutionForward cudnnCreate cudnnCreateActivationDescriptor
                cudnnCreateConvolutionDescriptor cudnnCreateFilterDescriptor
                cudnnCreatePoolingDescriptor cudnnCreateTensorDescriptor cudnnDestroy
                cudnnDestroyActivationDescriptor cudnnDestroyConvolutionDescriptor
                cudnnDestroyFilterDescriptor cudnnDestroyPoolingDescriptor
                cudnnDestroyTensorDescriptor cudnnGetConvolutionForwardAlgorithm_v7
                cudnnGetConvolutionForwardWorkspaceSize cudnnGetVersion cudnnPoolingForward
                cudnnSetActivationDescriptor cudnnSetConvolution2dDescriptor
                cudnnSetConvolutionMathType cudnnSetFilter4dDescriptor cudnnSetPooling2dDescriptor
                cudnnSetStream cudnnSetTensor4dDescriptor cudnnSetTensor4dDescriptorEx
            ),
        },
    ];

    /// cuInit before [`load`]: whoever opens a device through candle alone comes here first.
    extern "C" fn init(flags: c_uint) -> c_int {
        if load().is_err() {
            return no_library();
        }
        // SAFETY: `load` has put the driver's cuInit there, which has this signature.
        let cu_init: extern "C" fn(c_uint) -> c_int =
            unsafe { std::mem::transmute(INIT[0].slot.load(Ordering::Acquire)) };
        cu_init(flags)
    }

    /// The driver's other functions before [`load`]: CUDA_ERROR_STUB_LIBRARY, which all of them may return.
    extern "C" fn no_library() -> c_int {
        34
    }

    /// Another library's function before [`load`]. A device has to be there for any of them, and so has `load`.
    extern "C" fn unreachable() -> ! {
        std::process::abort()
    }

    pub(crate) fn load() -> Result<(), String> {
        static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
        LOADED.get_or_init(fill).clone()
    }

    /// All slots or none.
    fn fill() -> Result<(), String> {
        let mut found = Vec::new();
        for library in LIBRARIES {
            let handle = open(library)?;
            for function in library.functions {
                // SAFETY: only the address is taken; the signature is the caller's business, as with every C function.
                let address = unsafe { handle.get::<*mut c_void>(function.name.as_bytes()) };
                let Ok(address) = address.map(|symbol| symbol.into_raw()) else {
                    let name = library.names[0];
                    return Err(format!(
                        "{name} has no {}: it is of another version",
                        function.name
                    ));
                };
                found.push((function.slot, address));
            }
            std::mem::forget(handle); // the slots point into it
        }
        for (slot, address) in found {
            slot.store(address.cast(), Ordering::Release);
        }
        Ok(())
    }

    /// By the system's rules (LD_LIBRARY_PATH, ld.so.cache), else in the toolkit that CUDA_HOME names.
    fn open(library: &Library) -> Result<Handle, String> {
        let home = std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("lib64"));
        let mut first = None;
        for name in library.names {
            let places = [Some(PathBuf::from(name)), home.as_ref().map(|home| home.join(name))];
            for place in places.into_iter().flatten() {
                // SAFETY: NVIDIA's libraries may be opened at any time and from any thread.
                match unsafe { Handle::open(Some(&place), RTLD_NOW | RTLD_LOCAL) } {
                    Ok(handle) => return Ok(handle),
                    Err(error) => first.get_or_insert(match error.source() {
                        Some(reason) => reason.to_string(), // the system's, which names the file
                        None => error.to_string(),
                    }),
                };
            }
        }
        Err(format!("{}; {}", first.unwrap_or_default(), library.origin))
    }
}
