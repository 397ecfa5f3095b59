package spawner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"cofferdam/internal/linux"
)

// owns tells whether the process that pidfd refers to is in i. The pid of a
// pidfd is only a name; that the process still lives after its namespace was
// looked at is what makes the answer be about it.
func (i *instance) owns(pidfd int) (bool, error) {
	pid, err := linux.PidOf(pidfd)
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
