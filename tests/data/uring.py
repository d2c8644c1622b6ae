# Opens a file for reading by io_uring(7): in a worker thread ("async"), or in the thread that polls
# the queue ("poll").
import ctypes, mmap, os, struct, sys
path, poll = os.fsencode(sys.argv[1]), sys.argv[2] == "poll"
call = ctypes.CDLL(None, use_errno=True).syscall
params = ctypes.create_string_buffer(120)
struct.pack_into("I", params, 8, 2 if poll else 0)  # IORING_SETUP_SQPOLL
ring = call(425, 4, params)
if ring < 0: sys.exit("io_uring_setup: " + os.strerror(ctypes.get_errno()))
entries, = struct.unpack_from("I", params, 0)
tail, array = struct.unpack_from("I", params, 44)[0], struct.unpack_from("I", params, 64)[0]
cqes = struct.unpack_from("I", params, 100)[0]
sq = mmap.mmap(ring, array + 4 * entries, offset=0)
cq = mmap.mmap(ring, cqes + 16, offset=0x8000000)
sqes = mmap.mmap(ring, 64 * entries, offset=0x10000000)
name = ctypes.create_string_buffer(path)
# IORING_OP_OPENAT with IOSQE_ASYNC, for reading
struct.pack_into("BBHiQQII", sqes, 0, 18, 0 if poll else 16, 0, -100, 0, ctypes.addressof(name), 0, 0)
struct.pack_into("I", sq, array, 0)
struct.pack_into("I", sq, tail, 1)
call(426, ring, 1, 1, 3, None, 0)  # IORING_ENTER_GETEVENTS and _SQ_WAKEUP
result, = struct.unpack_from("i", cq, cqes + 8)
sys.exit(os.strerror(-result) if result < 0 else 0)
