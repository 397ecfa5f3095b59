package spawner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where things are in the spawner's own mount namespace: a small tmpfs, with
// the host's file tree in a directory of it.
const (
	hostDir   = "/host"
	layoutDir = "/layout"
)

// enterHost turns the fresh mount namespace that we were started in into ours.
func enterHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach mounts from the host's: %w", err)
	}
	// Any directory does: the host's tree gets it back with pivot_root.
	const at = "/usr"
	if err := unix.Mount("cofferdam", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=1m"); err != nil {
		return fmt.Errorf("mount the spawner's root: %w", err)
	}
	for _, dir := range []string{hostDir, layoutDir, volumeDir, "/proc"} {
		if err := os.Mkdir(at+dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("/proc", at+"/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /proc: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."+hostDir); err != nil {
		return fmt.Errorf("enter the spawner's root: %w", err)
	}
	return unix.Chdir("/")
}

// becomeRoot takes the ids that the client has mapped for us by now. As an
// ordinary user we were started with capabilities in a namespace whose ids were
// not mapped yet.
func becomeRoot(user bool) error {
	if user {
		if err := errors.Join(syscall.Setresgid(0, 0, 0), syscall.Setresuid(0, 0, 0)); err != nil {
			return fmt.Errorf("become root of the spawner's user namespace: %w", err)
		}
	}
	// With a single id the kernel refuses setgroups (user_namespaces(7)); the
	// groups of the user then stay.
	if err := syscall.Setgroups(nil); err != nil && !(user && errors.Is(err, unix.EPERM)) {
		return fmt.Errorf("drop supplementary groups: %w", err)
	}
	return nil
}

// A cloner is the thread that makes children.
type cloner struct {
	work chan func()
}

// newCloner starts the thread. fail is called should it be impossible.
func newCloner() (*cloner, error) {
	c := &cloner{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: children die with this thread
		err := c.enter()
		ready <- err
		if err != nil {
			return
		}
		for f := range c.work {
			f()
		}
	}()
	return c, <-ready
}

// do runs f on the thread.
func (c *cloner) do(f func()) {
	done := make(chan struct{})
	c.work <- func() { f(); close(done) }
	<-done
}

// enter gives the thread a mount namespace with two mounts: a root with the
// directories that scripts use, and proc.
func (c *cloner) enter() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make the cloner's mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detach the cloner's mounts: %w", err)
	}
	if err := unix.Mount("cell", layoutDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k"); err != nil {
		return fmt.Errorf("mount the cloner's root: %w", err)
	}
	for _, dir := range []string{"base", "files", "proc"} {
		if err := os.Mkdir(filepath.Join(layoutDir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("/proc", layoutDir+"/proc", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind /proc for the cloner: %w", err)
	}
	if err := unix.Chdir(layoutDir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("enter the cloner's root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the spawner's mounts: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}
