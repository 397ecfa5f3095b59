package spawner

import (
	"fmt"
	"slices"
	"sync"

	"cofferdam/executor"

	"golang.org/x/sys/unix"
)

// holds knows which living environments write to which host directories. Files
// belong to the host id of an environment while it lives, and to whom they
// belonged before once the last one has ended. Environments that write to the
// same place at the same time have the same host ids; nothing else makes them
// share any.
type holds struct {
	ids *ids

	mu sync.Mutex       // held while files change hands
	at map[string]*hold // guarded by mu, by device and inode
}

type hold struct {
	slot     uint32
	refs     int
	fd       int // O_PATH
	uid, gid int // whom the files belonged to
}

// take returns a blank of from whose ids may write to what mounts share writably, and
// hands that over to it.
func (h *holds) take(from *blanks, mounts []placed) (_ *blank, keys []string, err error) {
	if !slices.ContainsFunc(mounts, func(m placed) bool { return m.writes() }) {
		b, err := from.take()
		return b, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var shared *hold
	for _, m := range mounts {
		if !m.writes() {
			continue
		}
		if have := h.at[m.key]; have != nil {
			if shared != nil && shared.slot != have.slot {
				return nil, nil, fmt.Errorf("mount %q: environments with different ids write to it and to another mount of this one", m.Target)
			}
			shared = have
		}
	}
	var b *blank
	if shared == nil || h.ids.single() {
		b, err = from.take()
	} else {
		b, err = from.twin(shared.slot)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, m := range mounts {
		if !m.writes() {
			continue
		}
		if err := h.add(&m, b.slot); err != nil {
			h.release(keys)
			from.drop(b)
			return nil, nil, fmt.Errorf("mount %q: %w", m.Target, err)
		}
		keys = append(keys, m.key)
	}
	return b, keys, nil
}

// join hands over what mounts share writably to an environment that has its ids already. The
// error is that others have it.
func (h *holds) join(mounts []placed, slot uint32) (keys []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range mounts {
		if !m.writes() {
			continue
		}
		if have := h.at[m.key]; have != nil && have.slot != slot && !h.ids.single() {
			err = fmt.Errorf("mount %q: another environment writes to it", m.Target)
		} else {
			err = h.add(&m, slot)
		}
		if err != nil {
			h.release(keys)
			return nil, err
		}
		keys = append(keys, m.key)
	}
	return keys, nil
}

// add counts one more environment of slot that writes to m. The caller holds mu.
func (h *holds) add(m *placed, slot uint32) error {
	have := h.at[m.key]
	if have == nil {
		var st unix.Stat_t
		if err := unix.Fstat(m.source, &st); err != nil {
			return err
		}
		fd, err := unix.FcntlInt(uintptr(m.source), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return err
		}
		have = &hold{slot: slot, fd: fd, uid: int(st.Uid), gid: int(st.Gid)}
		if h.ids.ours(have.uid) {
			have.uid, have.gid = 0, 0 // left so when a spawner was killed
		}
		h.at[m.key] = have
	}
	have.refs++
	if err := giveTree(have.fd, h.ids.program(slot), h.ids.program(slot)); err != nil {
		h.drop(m.key)
		return err
	}
	return nil
}

// done is the end of an environment that held keys.
func (h *holds) done(keys []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.release(keys)
}

func (h *holds) release(keys []string) {
	for _, key := range keys {
		h.drop(key)
	}
}

// drop counts one environment less. The caller holds mu.
func (h *holds) drop(key string) {
	have := h.at[key]
	if have.refs--; have.refs > 0 {
		return
	}
	giveTree(have.fd, have.uid, have.gid) // what fails here is taken at the next start
	unix.Close(have.fd)
	delete(h.at, key)
}

// writes tells whether the environment may write to what m shows of the host. An
// image is none of the host: its files have owners of their own.
func (m *placed) writes() bool {
	return (m.Kind == executor.MountBind || m.Kind == executor.MountVolume) && m.Writable && m.image == nil
}
