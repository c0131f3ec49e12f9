// What kernels.cu is compiled with in order to run on a CPU: a block's threads are the system's, one block after the
// other.
#include <math.h>
#include <pthread.h>
#include <stddef.h>

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() pthread_barrier_wait(&barrier)

struct Dim {
    unsigned x;
};
static _Thread_local struct Dim threadIdx, blockIdx;
static struct Dim gridDim;
static pthread_barrier_t barrier;

static int flags[256];
static unsigned ballot(int flag) {
    flags[threadIdx.x] = flag;
    __syncthreads();
    unsigned bits = 0;
    for (unsigned k = 0; k < 32; k++) bits |= (unsigned)!!flags[threadIdx.x / 32 * 32 + k] << k;
    __syncthreads();
    return bits;
}
#define __ballot_sync(threads, flag) ballot(flag)
#define __ffs __builtin_ffs

#include "../src/kernels.cu"

_Static_assert(THREADS == sizeof flags / sizeof *flags, "a flag for each thread");

struct Thread {
    void (*kernel)(const void *);
    const void *arguments;
    unsigned number;
};

static void *run(void *pointer) {
    const struct Thread *thread = pointer;
    threadIdx.x = thread->number;
    for (unsigned block = 0; block < gridDim.x; block++) {
        blockIdx.x = block;
        thread->kernel(thread->arguments);
        __syncthreads();
    }
    return NULL;
}

static void launch(void (*kernel)(const void *), const void *arguments, unsigned blocks) {
    struct Thread threads[THREADS];
    pthread_t handles[THREADS];
    gridDim.x = blocks;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (unsigned number = 0; number < THREADS; number++) {
        threads[number] = (struct Thread){kernel, arguments, number};
        pthread_create(&handles[number], NULL, run, &threads[number]);
    }
    for (unsigned number = 0; number < THREADS; number++) pthread_join(handles[number], NULL);
    pthread_barrier_destroy(&barrier);
}

#define HOST(kernel, Arguments)                                                               \
    static void call_##kernel(const void *arguments) {                                        \
        kernel(*(const struct Arguments *)arguments);                                         \
    }                                                                                         \
    void host_##kernel(const void *arguments, unsigned blocks) {                              \
        launch(call_##kernel, arguments, blocks);                                             \
    }

HOST(lstm_forward, LstmForward)
HOST(lstm_backward, LstmBackward)
HOST(cross_entropy, CrossEntropy)
HOST(embedding_backward, EmbeddingBackward)
HOST(dropout, Dropout)
HOST(square_sum, SquareSum)
HOST(adam, Adam)
HOST(sgd, Sgd)
