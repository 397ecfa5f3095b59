package linux

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Pack writes Program to a file in memory, for a process that is a fork of some other program
// and carries out the same steps by itself. args and env are what is to run; keep is how
// many descriptors it has. The reader is zygote.py of package spawner:
//
//	6 numbers of 32 bits: of steps, bytes of data, moves, bytes of args and env, keep
//	steps of 10 numbers of 64 bits: the call, 6 arguments, store, accept, and in one
//	  bits by argument: 0–5 that it is read from a slot, 8–13 that it is an address
//	moves of 32 bits: places in data that hold an address
//	data, then args and env, each with a NUL at its end
//
// Slots and addresses are offsets in data; that of store is one more, 0 for none.
func (s *Script) Pack(args, env []string, keep int) (int, error) {
	if s.err != nil {
		return -1, s.err
	}
	steps := s.Program.steps[:s.a.count[stageProgram]]
	out := make([]byte, 0, 64<<10)
	head := [6]uint32{uint32(len(steps)), uint32(s.used), uint32(len(s.moves)), 5: uint32(keep)}
	for i, list := range [][]string{args, env} {
		for _, v := range list {
			head[3+i] += uint32(len(v) + 1)
		}
	}
	for _, n := range head {
		out = binary.NativeEndian.AppendUint32(out, n)
	}
	for _, st := range steps {
		var err error
		if out, err = s.packStep(out, st); err != nil {
			return -1, err
		}
	}
	for _, at := range s.moves {
		out = binary.NativeEndian.AppendUint32(out, uint32(at))
	}
	begin := len(out)
	out = append(out, s.a.data[:s.used]...)
	for _, at := range s.moves {
		p := out[begin+int(at):]
		offset, ok := s.offset(uintptr(binary.NativeEndian.Uint64(p)))
		if !ok {
			return -1, fmt.Errorf("pack a script: an address in its data is of nothing in it")
		}
		binary.NativeEndian.PutUint64(p, uint64(offset))
	}
	for _, list := range [][]string{args, env} {
		for _, v := range list {
			out = append(append(out, v...), 0)
		}
	}
	return memfd(out)
}

func (s *Script) packStep(out []byte, st step) ([]byte, error) {
	first := unsafe.Offsetof(s.a.data)
	bits := uint64(st.load)
	for i := range st.args {
		if st.load&(1<<i) != 0 {
			st.args[i] -= first
		} else if offset, ok := s.offset(st.args[i]); ok {
			st.args[i] = offset
			bits |= 1 << (8 + i)
		} else if p := st.args[i] - uintptr(unsafe.Pointer(s.a)); p < unsafe.Sizeof(*s.a) {
			return nil, fmt.Errorf("pack a script: call %d is given an address that is not of its data", st.nr)
		}
	}
	if st.store != 0 {
		st.store -= first - 1
	}
	for _, n := range []uintptr{st.nr, st.args[0], st.args[1], st.args[2], st.args[3], st.args[4], st.args[5], st.store, st.accept} {
		out = binary.NativeEndian.AppendUint64(out, uint64(n))
	}
	return binary.NativeEndian.AppendUint64(out, bits), nil
}

// offset is where in data an address lies.
func (s *Script) offset(addr uintptr) (uintptr, bool) {
	at := addr - uintptr(unsafe.Pointer(&s.a.data[0]))
	return at, at < uintptr(s.used)
}

// SealedFile is a file in memory with content b, to be read from its beginning, which nobody can change.
func SealedFile(b []byte) (int, error) {
	fd, err := memfd(b)
	if err != nil {
		return -1, err
	}
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err == nil {
		_, err = unix.Seek(fd, 0, unix.SEEK_SET)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("seal a file in memory: %w", err)
	}
	return fd, nil
}

// memfd makes a file in memory with content b.
func memfd(b []byte) (int, error) {
	fd, err := unix.MemfdCreate("script", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("make a file in memory: %w", err)
	}
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("write to a file in memory: %w", err)
		}
		b = b[n:]
	}
	return fd, nil
}
