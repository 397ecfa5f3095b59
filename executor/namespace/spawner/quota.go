package spawner

import (
	"fmt"
	"os"
	"time"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// How often volumes are measured: so often, and never for more than a part of
// the time. Files are cheap for a program, and measuring them is at our expense.
const (
	volumesEvery = 200 * time.Millisecond
	volumesPart  = 10
)

// watchQuotas measures the volumes of i until they are closed.
func (i *instance) watchQuotas() {
	for pause := volumesEvery; ; {
		select {
		case <-i.done:
			return
		case <-time.After(pause):
		}
		began := time.Now()
		if !i.checkQuotas() {
			return
		}
		pause = max(volumesEvery, (volumesPart-1)*time.Since(began))
	}
}

// checkQuotas kills an environment with more in a volume than its quota, or with
// more in all of them than all quotas when files without a name are added. It
// reports false once the volumes are closed.
func (i *instance) checkQuotas() bool {
	i.volumesMu.Lock()
	defer i.volumesMu.Unlock()
	if i.volumesShut {
		return false
	}
	var total, quota int64
	devs := map[uint64]bool{}
	for _, v := range i.volumes {
		n, files := measure(v.fd, v.limit, v.files)
		if n > v.limit {
			i.overQuota(v.limit, "in "+v.path)
		}
		if files > v.files {
			i.kill(executor.Exit{Cause: executor.CauseDisk, Limit: fmt.Sprint(v.files), Key: "volumes.inodes", Detail: fmt.Sprintf("it made more than %d files in %s", v.files, v.path)})
		}
		total, quota = total+n, quota+v.limit
		var st unix.Stat_t
		if unix.Fstat(v.fd, &st) == nil {
			devs[st.Dev] = true
		}
	}
	if total <= quota && total+unlinked(descendants(i.blank.child.Pid, nil), devs) > quota {
		i.overQuota(quota, "with the files that it deleted and keeps open")
	}
	return true
}

func (i *instance) overQuota(limit int64, where string) {
	text := bytesText(limit)
	i.kill(executor.Exit{Cause: executor.CauseDisk, Limit: text, Key: "volumes.size", Detail: "it stored more than " + text + " " + where})
}

// unlinked is the size in bytes of the files on devs that have no name and live
// because one of pids has them open or, where we may see that, mapped. It does not
// see those that are on their way through a socket.
func unlinked(pids []int, devs map[uint64]bool) (total int64) {
	seen := map[[2]uint64]bool{}
	entries := 0
	for _, pid := range pids {
		for _, dir := range []string{"fd", "map_files"} {
			name := fmt.Sprintf("/proc/%d/%s", pid, dir)
			d, err := os.Open(name)
			if err != nil {
				continue // gone meanwhile
			}
			links, _ := d.Readdirnames(maxEntries)
			d.Close()
			if entries += len(links); entries > maxEntries {
				return 1 << 62 // cannot be watched
			}
			for _, link := range links {
				var st unix.Statx_t
				// Whatever else a process has open must not make us wait.
				err := unix.Statx(unix.AT_FDCWD, name+"/"+link, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
				dev := unix.Mkdev(st.Dev_major, st.Dev_minor)
				if err != nil || st.Nlink != 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || !devs[dev] {
					continue
				}
				if id := [2]uint64{dev, st.Ino}; !seen[id] {
					seen[id] = true
					total += int64(st.Blocks) * 512
				}
			}
		}
	}
	return total
}
