package raw

// X32 is the bit of a number that makes it one of the x32 ABI.
const X32 = 0x40000000

func int80(nr, a, b, c uint32) int32

// Int80 makes a system call of the i386 ABI and returns what the kernel does. It
// reports false where there is no such ABI.
func Int80(nr, a, b, c uint32) (int32, bool) { return int80(nr, a, b, c), true }
