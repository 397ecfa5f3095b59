package spawner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// tools are the host's programs for file systems, as paths of the host.
type tools struct{ mkfs, fsck, resize string }

func findTools() tools {
	find := func(name string) string {
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
			if _, err := os.Stat(path.Join(hostDir, dir, name)); err == nil {
				return path.Join(dir, name)
			}
		}
		return ""
	}
	return tools{find("mkfs.ext4"), find("e2fsck"), find("resize2fs")}
}

// missing says what is not there, "" if nothing is missing.
func (t tools) missing() string {
	if t.mkfs == "" || t.fsck == "" || t.resize == "" {
		return "no mkfs.ext4, e2fsck or resize2fs (apt-get install e2fsprogs)"
	}
	return ""
}

// tool runs one of them in the host's file tree, with files as descriptors 3, 4, …
// Its exit codes up to worst are no error.
func tool(worst int, files []*os.File, name string, args ...string) error {
	null, err := os.OpenFile(hostDir+"/dev/null", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.ExtraFiles = null, files
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: hostDir}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && exit.ExitCode() <= worst {
		return nil
	}
	if err != nil {
		said := strings.TrimSpace(string(out))
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		return fmt.Errorf("%s: %w: %.200s", path.Base(name), err, said)
	}
	return nil
}

// make makes the file of an image if it is not there. A directory of that name, as
// a volume without a size or of an earlier version is, becomes an image with the
// same content; what it was is kept beside it. Until that is done it is kept under
// another name: of an image that somebody removes later, nothing comes back.
func (v *storage) make(m *image, inodes int64) error {
	var st unix.Stat_t
	err := unix.Fstatat(v.dir, m.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	was, moving, old := m.name+"~was", m.name+"~moving", false
	switch {
	case err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR:
		if unix.Fstatat(v.dir, was, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			return fmt.Errorf("it is a directory, and %q, what an earlier one was, is in its way: remove that", was)
		}
		// Whoever was here before us may have been killed at any point.
		if err := unix.Mkdirat(v.dir, moving, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("make %q beside it: %w", moving, err)
		}
		if err := unix.Renameat(v.dir, m.name, v.dir, path.Join(moving, filesDir)); err != nil {
			return fmt.Errorf("move it to %q: %w", moving, err)
		}
		old = true
	case err == nil:
		v.moved(m, moving, was)
		return nil
	case !errors.Is(err, unix.ENOENT):
		return err
	default:
		old = unix.Fstatat(v.dir, path.Join(moving, filesDir), &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	}
	fresh := m.name + "~new"
	unix.Unlinkat(v.dir, fresh, 0)
	fd, err := unix.Openat(v.dir, fresh, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), fresh)
	defer file.Close()
	if err := v.mkfs(file, m, inodes, old); err != nil {
		unix.Unlinkat(v.dir, fresh, 0)
		if old { // as it was
			unix.Renameat(v.dir, path.Join(moving, filesDir), v.dir, m.name)
			unix.Unlinkat(v.dir, moving, unix.AT_REMOVEDIR)
			err = fmt.Errorf("what it holds does not go into an image of %s (volumes.size): %w", bytesText(m.size), err)
		}
		return err
	}
	if err := unix.Renameat(v.dir, fresh, v.dir, m.name); err != nil {
		return err
	}
	v.moved(m, moving, was)
	return nil
}

// moved is the last step of make, for a directory.
func (v *storage) moved(m *image, moving, was string) {
	if unix.Renameat2(v.dir, moving, v.dir, was, unix.RENAME_NOREPLACE) == nil {
		fmt.Fprintf(os.Stderr, "cofferdam: volume %q is an image of %s now, with a limit that the kernel enforces; the directory that it was is kept as %q and can be removed\n", m.name, bytesText(m.size), was)
	}
}

// mkfs makes the file system, with the tree of m's former directory in it if old.
func (v *storage) mkfs(file *os.File, m *image, inodes int64, old bool) error {
	if err := file.Truncate(imageBytes(m.size, inodes)); err != nil {
		return err
	}
	block, journal := blockSize(m.size)
	args := []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.FormatInt(block, 10), "-I", "256", "-N", strconv.FormatInt(inodes+16, 10), "-m", "0",
		"-e", "remount-ro", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
	}
	if journal == 0 {
		args = append(args, "-O", "^resize_inode,^has_journal")
	} else {
		args = append(args, "-O", "^resize_inode", "-J", "size="+strconv.FormatInt(journal>>20, 10))
	}
	files := []*os.File{file}
	if old {
		fd, err := openBeneath(v.dir, m.name+"~moving", unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		tree := os.NewFile(uintptr(fd), "tree")
		defer tree.Close()
		files = append(files, tree)
		args = append(args, "-d", "/proc/self/fd/4")
	}
	return tool(0, files, v.tools.mkfs, append(args, "/proc/self/fd/3")...)
}

// fit mends what a crash of the machine left, and gives the file the size that the
// manifest says by now.
func (v *storage) fit(file *os.File, size int64) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	same := info.Size() == size
	if same && clean(file) {
		return nil
	}
	files := []*os.File{file}
	if err := tool(1, files, v.tools.fsck, "-p", "-f", "/proc/self/fd/3"); err != nil {
		return fmt.Errorf("mend its image; try e2fsck on the file: %w", err)
	}
	if same {
		return nil
	}
	if size > info.Size() {
		if err := file.Truncate(size); err != nil {
			return err
		}
	}
	if err := tool(0, files, v.tools.resize, "/proc/self/fd/3", strconv.FormatInt(size>>10, 10)+"K"); err != nil {
		return fmt.Errorf("give it the size that volumes.size says: %w", err)
	}
	return file.Truncate(size)
}
