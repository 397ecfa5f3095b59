package spawner

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// The ids inside an environment.
const (
	initID    = 0
	programID = 1000
)

// ids hands out slots, each with two host ids that no living environment has.
type ids struct {
	base, count uint32 // count 0: one id for everybody

	mu   sync.Mutex
	used map[uint32]int // environments by slot
	next uint32
}

// take reserves a slot. The least recently freed come last, so that a process
// that should somehow outlive its environment does not soon meet a namesake.
func (i *ids) take() (uint32, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	slots := uint32(1 << 16)
	if i.count > 0 {
		slots = (i.count - 2) / 2
	}
	for range slots {
		n := i.next % slots
		i.next++
		if i.used[n] == 0 {
			i.used[n] = 1
			return n, nil
		}
	}
	return 0, fmt.Errorf("all %d slots of environments are taken", slots)
}

func (i *ids) give(slot uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.used[slot]--; i.used[slot] <= 0 {
		delete(i.used, slot)
	}
}

// share counts one more environment in slot, which must be taken.
func (i *ids) share(slot uint32) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.used[slot]++
}

// ours tells whether a host id is one that environments get.
func (i *ids) ours(id int) bool {
	return !i.single() && id >= int(i.base)+2 && id < int(i.base+i.count)
}

// single says that init and program share the one id there is.
func (i *ids) single() bool { return i.count == 0 }

// init is the init's id inside.
func (i *ids) init() uintptr {
	if i.single() {
		return programID
	}
	return initID
}

// program is the program's id, as the spawner sees it.
func (i *ids) program(slot uint32) int {
	if i.single() {
		return 0
	}
	return int(i.base + 3 + 2*slot)
}

// pair are the ids of slot as uid_map(5) has them.
func (i *ids) pair(slot uint32) string {
	if i.single() {
		return fmt.Sprintf("%d 0 1\n", programID)
	}
	return fmt.Sprintf("%d %d 1\n%d %d 1\n", initID, i.base+2+2*slot, programID, i.base+3+2*slot)
}

// all are the ids of every slot, under the numbers that inner has them by, for a
// zygote in slot that gives them to others. It is 0 there itself.
func (i *ids) all(slot uint32) string {
	if i.single() {
		return "0 0 1\n"
	}
	own := 2 + 2*slot
	text := fmt.Sprintf("0 %d 1\n", i.base+own)
	if own > 2 {
		text += fmt.Sprintf("2 %d %d\n", i.base+2, own-2)
	}
	if own+2 < i.count {
		text += fmt.Sprintf("%d %d %d\n", own+2, i.base+own+2, i.count-own-2)
	}
	return text
}

// inner is pair where all is mapped.
func (i *ids) inner(slot uint32) string {
	if i.single() {
		return i.pair(slot)
	}
	return fmt.Sprintf("%d %d 1\n%d %d 1\n", initID, 2+2*slot, programID, 3+2*slot)
}

// write maps ids into the user namespace of process pid.
func (i *ids) write(pid int, text string) error {
	for _, file := range []string{"uid_map", "gid_map"} {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/%s", pid, file), unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte(text))
			unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("map the ids of an environment: %w", err)
		}
	}
	return nil
}
