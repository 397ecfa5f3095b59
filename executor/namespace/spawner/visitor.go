package spawner

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A visitor is a thread that goes into other namespaces, one after the other, and comes
// back each time. What it does there must not wait for anybody: others wait for it. A thread
// that does not come back is one that has lost its way, and takes the spawner with it.
type visitor struct {
	work chan func()

	home, mounts, names int // its own namespaces: of networks, mounts and host names
	net                 int // what /proc has of the network that it is in
}

func newVisitor() (*visitor, error) {
	v := &visitor{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		// An ordinary user could not come back into the host's.
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS)
		for name, fd := range map[string]*int{"net": &v.home, "mnt": &v.mounts, "uts": &v.names} {
			if err == nil {
				*fd, err = unix.Open("/proc/thread-self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			}
		}
		if err == nil {
			v.net, err = unix.Open("/proc/thread-self/net", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		ready <- err
		if err != nil {
			return
		}
		for f := range v.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("make a thread that visits namespaces: %w", err)
	}
	return v, nil
}

// network runs f in the network namespace fd. Sockets made there stay there.
func (v *visitor) network(fd int, f func() error) (err error) {
	done := make(chan struct{})
	v.work <- func() {
		defer close(done)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter a network namespace: %w", err)
			return
		}
		err = f()
		v.back(v.home, unix.CLONE_NEWNET)
	}
	<-done
	return err
}

// enter runs f at the root of the mounts of the init that pidfd refers to, where its host name
// is the thread's too. Nobody may have been there before: no program can have laid out what f
// walks over.
func (v *visitor) enter(pidfd int, f func() error) (err error) {
	done := make(chan struct{})
	v.work <- func() {
		defer close(done)
		if err = unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWUTS); err != nil {
			err = fmt.Errorf("enter an environment: %w", err)
			return
		}
		err = f()
		v.back(v.names, unix.CLONE_NEWUTS)
		v.back(v.mounts, unix.CLONE_NEWNS)
	}
	<-done
	return err
}

func (v *visitor) back(fd, kind int) {
	if err := unix.Setns(fd, kind); err != nil {
		// Nothing that this thread did from here on would be where it should be.
		fmt.Fprintln(os.Stderr, "spawner: return from a namespace:", err)
		os.Exit(1)
	}
}
