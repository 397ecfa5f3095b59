// Package raw makes system calls as a hostile program would: any number, with any
// arguments.
//
// Trusted: no. Tests use it, and nothing that runs with an application.
package raw

import (
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call makes the system call nr. An argument is a number (int, uint32, uintptr); a
// []byte or a string is passed as its address, a string with a NUL at its end; nil is
// a null pointer.
func Call(nr uintptr, args ...any) (uintptr, unix.Errno) {
	var numbers [6]uintptr
	var pin runtime.Pinner
	defer pin.Unpin()
	address := func(b []byte) uintptr {
		if len(b) == 0 {
			return 0
		}
		pin.Pin(&b[0])
		return uintptr(unsafe.Pointer(&b[0]))
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case nil:
		case int:
			numbers[i] = uintptr(v)
		case uint32:
			numbers[i] = uintptr(v)
		case uintptr:
			numbers[i] = v
		case []byte:
			numbers[i] = address(v)
		case string:
			numbers[i] = address(append([]byte(v), 0))
		default:
			panic(fmt.Sprintf("argument %d of system call %d is a %T", i, nr, arg))
		}
	}
	r, _, errno := unix.Syscall6(nr, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5])
	return r, errno
}

// Address is where b lies, for structures that hold pointers. b stays there, and is kept
// for ever.
func Address(b []byte) uintptr {
	kept.Store(&b, nil)
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

var kept sync.Map
