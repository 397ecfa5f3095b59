package spawner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// image is a volume that is a file with a file system in it, while it is in use.
//
// The loop device that stands between clears itself when its last user has gone,
// and our mounts go with our mount namespace: whoever kills us leaves neither. The
// lock on the file belongs to its open description, which the loop device holds, so
// that it lasts exactly as long as anybody can still write: no file is ever mounted
// by two devices.
type image struct {
	name  string
	size  int64 // bytes that fit in
	users int   // guarded by storage.mu

	mu   sync.Mutex // held while it is mounted
	at   string     // where, in our own mount namespace
	root int        // O_PATH of the files in it; -1 until mounted
}

// filesDir is the directory of an image that programs see: lost+found is beside it.
const filesDir = "files"

// blockSize is that of a small image, or of a large one, and the size of its journal.
// The smallest take none: they are mended in no time.
func blockSize(size int64) (block, journal int64) {
	switch {
	case size < 1<<20:
		return 1 << 10, 0
	case size < 16<<20:
		return 1 << 10, 1 << 20
	}
	return 4 << 10, 4 << 20
}

// imageBytes is how large a file has to be for size bytes in so many files: with
// the journal, 256 bytes for each inode, and what bitmaps, directories and extents take.
func imageBytes(size, inodes int64) int64 {
	block, journal := blockSize(size)
	n := size + size/64 + journal + (inodes+16)*256 + 128*block
	return (n + 4095) &^ 4095
}

// lockPatience is how long the last user of an image may take to be gone.
const lockPatience = 10 * time.Second

// mount makes the file m.name, if need be, and mounts it. The caller holds m.mu.
func (v *storage) mount(m *image, inodes int64) (err error) {
	if err := v.make(m, inodes); err != nil {
		return err
	}
	fd, err := openBeneath(v.dir, m.name, unix.O_RDWR|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), m.name)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Nlink != 1 {
		return errors.New("its image is not a file of root's alone")
	}
	if err := lock(fd); err != nil {
		return err
	}
	if err := v.fit(file, imageBytes(m.size, inodes)); err != nil {
		return err
	}
	loop, name, err := loopOf(fd, m.name)
	if err != nil {
		return err
	}
	defer unix.Close(loop) // the mount holds it from then on
	fs, err := fsmount(name)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	return m.attach(fs)
}

// attach puts the mount fs where it can be cloned, and opens the files in it.
func (m *image) attach(fs int) (err error) {
	if m.at, err = os.MkdirTemp(volumeDir, ""); err != nil {
		return err
	}
	if err := unix.MoveMount(fs, "", unix.AT_FDCWD, m.at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		os.Remove(m.at)
		return fmt.Errorf("attach it: %w", err)
	}
	defer func() {
		if err != nil {
			m.unmount()
		}
	}()
	top, err := unix.Open(m.at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	if err := unix.Mkdirat(top, filesDir, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if m.root, err = openBeneath(top, filesDir, unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return err
	}
	// Files in an image belong to the program's own id, whatever that is on the host:
	// see idmapped. Only what came from elsewhere does not yet.
	return giveTree(m.root, programID, programID)
}

func (m *image) unmount() {
	if m.root >= 0 {
		unix.Close(m.root)
		m.root = -1
	}
	if m.at != "" {
		unix.Unmount(m.at, unix.MNT_DETACH)
		os.Remove(m.at)
		m.at = ""
	}
}

// lock waits until nobody else can write to the file.
func lock(fd int) error {
	for wait, deadline := time.Millisecond, time.Now().Add(lockPatience); ; wait = min(2*wait, 100*time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("another application has it mounted")
		}
		time.Sleep(wait)
	}
}

// loopOf returns a loop device with the file fd in it, and its path.
func loopOf(fd int, label string) (int, string, error) {
	ctl, err := unix.Open(hostDir+"/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, "", fmt.Errorf("open the control of loop devices: %w", err)
	}
	defer unix.Close(ctl)
	config := &unix.LoopConfig{Fd: uint32(fd)}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	copy(config.Info.File_name[:len(config.Info.File_name)-1], label)
	for range 64 {
		n, err := unix.IoctlRetInt(ctl, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return -1, "", fmt.Errorf("find a loop device: %w", err)
		}
		name := fmt.Sprintf("%s/dev/loop%d", hostDir, n)
		loop, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, "", fmt.Errorf("open loop device %d: %w", n, err)
		}
		err = unix.IoctlLoopConfigure(loop, config)
		if err == nil {
			return loop, name, nil
		}
		unix.Close(loop)
		if !errors.Is(err, unix.EBUSY) { // somebody else took it meanwhile
			return -1, "", fmt.Errorf("configure loop device %d: %w", n, err)
		}
	}
	return -1, "", errors.New("no loop device stays free for long enough")
}

// fsmount mounts the file system on a device, attached nowhere.
func fsmount(device string) (int, error) {
	fs, err := unix.Fsopen("ext4", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open ext4: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", device); err != nil {
		return -1, fmt.Errorf("set its device: %w", err)
	}
	// The file is sparse: zeroes need no writing.
	if err := unix.FsconfigSetFlag(fs, "noinit_itable"); err != nil {
		return -1, fmt.Errorf("set an option of ext4: %w", err)
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fmt.Errorf("mount its image: %w", err)
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrGuest)
}

// idmapped has a detached tree show the ids of the environment whose user namespace
// pid is in: what belongs to it in the tree belongs to it on the host.
func idmapped(tree, pid int) error {
	ns, err := unix.Open(fmt.Sprintf("/proc/%d/ns/user", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the user namespace of an environment: %w", err)
	}
	defer unix.Close(ns)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)})
	if err != nil {
		return fmt.Errorf("map the ids of a volume: %w", err)
	}
	return nil
}

// full names the key of what is used up in the image, "" if nothing is.
func (m *image) full() string {
	var st unix.Statfs_t
	switch {
	case unix.Fstatfs(m.root, &st) != nil:
		return ""
	case int64(st.Bavail)*st.Bsize < min(max(m.size/16, 96<<10), 1<<20):
		// A write is refused as a whole, and the kernel keeps some blocks for itself.
		return "volumes.size"
	case st.Ffree == 0:
		return "volumes.inodes"
	}
	return ""
}

// fullVolume says of which of i's volumes a program that failed may have met the
// end, nil if of none.
func (i *instance) fullVolume() *executor.Exit {
	i.volumesMu.Lock()
	images := slices.Clone(i.images)
	i.volumesMu.Unlock()
	for _, m := range images {
		switch key := m.full(); key {
		case "volumes.size":
			return &executor.Exit{Cause: executor.CauseDisk, Limit: bytesText(m.size), Key: key, Detail: fmt.Sprintf("it failed with its volume %q full", m.name)}
		case "volumes.inodes":
			return &executor.Exit{Cause: executor.CauseDisk, Limit: fmt.Sprint(m.files()), Key: key, Detail: fmt.Sprintf("it failed with no more files to be had in its volume %q", m.name)}
		}
	}
	return nil
}

// files is how many fit in.
func (m *image) files() uint64 {
	var st unix.Statfs_t
	if unix.Fstatfs(m.root, &st) != nil {
		return 0
	}
	return st.Files
}

// clean tells whether the file system in file was left in order.
func clean(file *os.File) bool {
	// ext4, s_state of the superblock: 1 unmounted in order, 2 errors seen.
	var state [2]byte
	_, err := file.ReadAt(state[:], 1024+0x3a)
	return err == nil && binary.LittleEndian.Uint16(state[:]) == 1
}

// volumeDir is where images are mounted, in the spawner's own mount namespace.
const volumeDir = "/volume"
