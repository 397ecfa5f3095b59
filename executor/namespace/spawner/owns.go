package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// owns tells whether the process that pidfd refers to is in i. The pid of a
// pidfd is only a name; that the process still lives after its namespace was
// looked at is what makes the answer be about it.
func (i *instance) owns(pidfd int) (bool, error) {
	pid, err := pidOf(pidfd)
	if pid <= 0 || err != nil {
		return false, err // dead, or of a namespace that we do not see
	}
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at a pid namespace: %w", err)
	}
	return ns == i.blank.pidns && !readable(pidfd), nil
}

// pidOf is the pid behind a pidfd, not positive if it is dead or not seen by us.
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, fmt.Errorf("look at a pidfd: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, nil
}
