//go:build !amd64

package raw

// X32 is the bit of a number that makes it one of the x32 ABI, which only amd64 has.
const X32 = 0

// Int80 reports false: there is no second ABI that this program could use.
func Int80(nr, a, b, c uint32) (int32, bool) { return 0, false }
