package linux

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is what runs in the child between clone and its end. Nothing here
// may allocate, grow the stack, take a lock, or be instrumented.

func vforkSyscall(trap, a1, a2, a3 uintptr) (r1, errno uintptr)

// runSteps carries out n steps. It returns the index and the errno of the first
// that fails, or -1.
//
//go:nosplit
//go:norace
//go:nocheckptr
func runSteps(a *arena, steps *step, n int32) (int32, uintptr) {
	for i := int32(0); i < n; i++ {
		st := (*step)(unsafe.Add(unsafe.Pointer(steps), uintptr(i)*unsafe.Sizeof(step{})))
		args := st.args
		for j := uintptr(0); j < 6; j++ {
			if st.load&(1<<j) != 0 {
				args[j] = uintptr(*(*int32)(unsafe.Add(unsafe.Pointer(a), args[j])))
			}
		}
		r, _, errno := syscall.RawSyscall6(st.nr, args[0], args[1], args[2], args[3], args[4], args[5])
		if errno != 0 && uintptr(errno) != st.accept {
			return i, uintptr(errno)
		}
		if st.store != 0 {
			*(*int32)(unsafe.Add(unsafe.Pointer(a), st.store)) = int32(r)
		}
	}
	return -1, 0
}

//go:nosplit
//go:norace
func exitChild(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}

// send reports to the parent. A parent that is gone is the end of the child.
//
//go:nosplit
//go:norace
func send(msg *unix.Msghdr) {
	_, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, ControlFD, uintptr(unsafe.Pointer(msg)), unix.MSG_NOSIGNAL)
	if errno != 0 {
		exitChild(1)
	}
}

//go:nosplit
//go:norace
func failChild(a *arena, stage, at int32, errno uintptr) {
	a.report.Kind = ReportFailed
	a.report.stage = stage
	a.report.step = at
	a.report.errno = int32(errno)
	send(&a.repMsg)
	exitChild(1)
}

// await receives the next message. A parent that is gone, or has no use for the child,
// is its end.
//
//go:nosplit
//go:norace
func await(a *arena, orElse uintptr) {
	for {
		a.goMsg.Controllen = uint64(len(a.goCtl))
		n, _, errno := syscall.RawSyscall(unix.SYS_RECVMSG, ControlFD, uintptr(unsafe.Pointer(&a.goMsg)), 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n == 0 {
			exitChild(orElse)
		}
		return
	}
}

// runCradle is the whole life of a cradle. It never returns, and what it makes
// neither.
//
//go:nosplit
//go:norace
//go:nocheckptr
func runCradle(a *arena) {
	dropMemory(a)
	at, errno := runSteps(a, &a.born[0], a.count[stageBorn])
	if at >= 0 {
		failChild(a, stageBorn, at, errno)
	}
	for {
		await(a, 0)
		// Before there is a child: the next message can be there before it looks.
		kind, born := a.message.kind, *(**arena)(unsafe.Pointer(&a.target)) // an address outside of the heap
		errno, pid := uintptr(0), uintptr(0)
		if kind == messageSteps {
			at, errno := runSteps(a, &a.setup[0], a.count[stageSetup])
			a.report.Kind, a.report.stage, a.report.step, a.report.errno = reportDone, stageSetup, at, int32(errno)
			send(&a.repMsg)
			syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, ControlFD-1, 0)
			continue
		}
		if a.net >= 0 {
			_, _, e := syscall.RawSyscall(unix.SYS_SETNS, uintptr(a.net), unix.CLONE_NEWNET, 0)
			errno = uintptr(e)
		}
		if errno == 0 {
			p, _, e := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&a.args)), unsafe.Sizeof(a.args), 0)
			pid, errno = p, uintptr(e)
			if e == 0 && p == 0 {
				if kind != messageCradle {
					runChild(born)
				}
				a = born
				if at, errno := runSteps(a, &a.born[0], a.count[stageBorn]); at >= 0 {
					failChild(a, stageBorn, at, errno)
				}
				continue
			}
		}
		if a.home >= 0 { // not to keep what is somebody's; it may not, inside of other namespaces
			syscall.RawSyscall(unix.SYS_SETNS, uintptr(a.home), unix.CLONE_NEWNET, 0)
		}
		a.report.Kind, a.report.status, a.report.errno = reportBorn, int32(pid), int32(errno)
		if errno == 0 {
			send(&a.pidMsg)
		} else {
			send(&a.repMsg)
		}
		syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, ControlFD-1, 0)
	}
}

// dropMemory unmaps what a cradle got of its parent's memory and has no use for, but
// for its stack.
//
//go:nosplit
//go:norace
func dropMemory(a *arena) {
	var here byte
	stack := uintptr(unsafe.Pointer(&here)) &^ 4095
	low, high := stack-4*4096, stack+4*4096
	for i := range a.drops {
		d := &a.drops[i]
		if d.from < high && d.to > low {
			unmap(d.from, low)
			unmap(high, d.to)
		} else {
			unmap(d.from, d.to)
		}
	}
}

//go:nosplit
//go:norace
func unmap(from, to uintptr) {
	if from < to {
		syscall.RawSyscall(unix.SYS_MUNMAP, from, to-from, 0)
	}
}

// runChild is the whole life of a child. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func runChild(a *arena) {
	at, errno := runSteps(a, &a.born[0], a.count[stageBorn])
	if at >= 0 {
		failChild(a, stageBorn, at, errno)
	}
	for done := int32(0); ; {
		await(a, 0)
		at, errno = runSteps(a, (*step)(unsafe.Add(unsafe.Pointer(&a.setup), uintptr(done)*unsafe.Sizeof(step{}))), a.message.setup-done)
		if at >= 0 {
			failChild(a, stageSetup, done+at, errno)
		}
		done = a.message.setup // and not the count, which may grow meanwhile
		if a.message.kind != messagePrepare {
			break
		}
	}
	var pid uintptr
	if a.adopts != 0 {
		a.report.Kind = ReportReady
		send(&a.repMsg)
		await(a, 0)
		pid = uintptr(a.message.pid)
	} else {
		if pid, errno = spawnProgram(a); errno != 0 {
			failChild(a, stageProgram, -1, errno)
		}
		if a.failErrno != 0 {
			// Not left to whoever reaps orphans: the parent may be outside of the
			// child's pid namespace, whose end waits until this one is reaped.
			syscall.RawSyscall6(unix.SYS_WAIT4, pid, 0, unix.WALL, 0, 0, 0)
			failChild(a, a.failStage, a.failStep, uintptr(a.failErrno))
		}
		if a.waits != a.claimed {
			exitChild(0) // it was ended while it waited
		}
		a.report.Kind = ReportStarted
		send(&a.pidMsg)
	}
	at, errno = runSteps(a, &a.seal[0], a.count[stageSeal]) // whoever waits need not wait for this
	if at >= 0 {
		failChild(a, stageSeal, at, errno)
	}
	syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 0, ControlFD-1, 0)
	for {
		got, e := wait(a, 0)
		if e != 0 {
			exitChild(1)
		}
		if got == pid {
			break
		}
	}
	a.report.Kind = ReportExited
	a.report.status = a.status
	a.report.utimeMicros = a.rusage.Utime.Sec*1e6 + a.rusage.Utime.Usec
	a.report.stimeMicros = a.rusage.Stime.Sec*1e6 + a.rusage.Stime.Usec
	a.report.maxRSS = a.rusage.Maxrss * 1024
	a.report.alone = 0
	for {
		// Of a pid 1 every process of its namespace is a descendant, so that without
		// a child it is alone there, but for those who were sent in from outside.
		got, e := wait(a, unix.WNOHANG)
		if e == uintptr(unix.ECHILD) {
			a.report.alone = 1
		}
		if e != 0 || got == 0 {
			break
		}
	}
	send(&a.repMsg)
	exitChild(0) // of a pid 1 this ends everything in its namespace
}

// wait waits for a child to end.
//
//go:nosplit
//go:norace
func wait(a *arena, flags uintptr) (pid, errno uintptr) {
	for {
		got, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&a.status)), unix.WALL|flags, uintptr(unsafe.Pointer(&a.rusage)), 0, 0)
		if e != unix.EINTR {
			return got, uintptr(e)
		}
	}
}

// spawnProgram makes the program's process and waits until it has executed the
// program or failed. The two share memory and stack until then, which is why
// this is a function of its own that only the parent returns from.
//
//go:nosplit
//go:norace
//go:noinline
//go:nocheckptr
func spawnProgram(a *arena) (pid, errno uintptr) {
	pid, errno = vforkSyscall(unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|unix.CLONE_PIDFD|uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&a.pidCtl[16])))
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	runProgram(a)
	return 0, 0
}

//go:nosplit
//go:norace
//go:noinline
func runProgram(a *arena) {
	a.failStage = stageProgram
	at, errno := runSteps(a, &a.program[0], a.count[stageProgram])
	if at < 0 {
		if a.waits != 0 {
			a.report.Kind = ReportReady
			send(&a.repMsg)
			await(a, 127)
			a.claimed = 1
		}
		a.failStage = stageClaim
		at, errno = runSteps(a, &a.claim[0], a.count[stageClaim])
	}
	a.failStep, a.failErrno = at, int32(errno)
	exitChild(127)
}
