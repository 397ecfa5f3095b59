package numbers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The feed is how an unprivileged program gets the numbers: a connection on which it
// writes one byte, a wish, and reads a line of JSON. What is written is looked at in no
// other way, so that whoever holds that end can read, and do nothing else.
const (
	WantSnapshot byte = 'n' // a line with a [Snapshot]
	WantSpans    byte = 't' // one with some [Span], each of which is told once
)

// MaxSpans is how many spans come at a time, at most.
const MaxSpans = 512

const (
	feedPause   = 20 * time.Millisecond // between two answers: to be asked is not all we do
	maxFeedLine = 64 << 20              // that who asks takes
)

// feedPatience is for who does not read its answer; a test has its own.
var feedPatience = 10 * time.Second

// ServeFeed answers on c, with what answer says to a wish, until c ends or does not
// read. An unknown wish gets null.
func ServeFeed(c net.Conn, answer func(want byte) any) {
	defer c.Close()
	for want := make([]byte, 1); ; {
		if n, err := c.Read(want); n != 1 || err != nil {
			return
		}
		line, err := json.Marshal(answer(want[0]))
		if err != nil {
			return
		}
		c.SetWriteDeadline(time.Now().Add(feedPatience))
		if _, err := c.Write(append(line, '\n')); err != nil {
			return
		}
		time.Sleep(feedPause)
	}
}

// Feed is the other end. It is safe for concurrent use.
type Feed struct {
	mu sync.Mutex
	c  net.Conn
	r  *bufio.Reader
}

// NewFeed takes c over.
func NewFeed(c net.Conn) *Feed { return &Feed{c: c, r: bufio.NewReader(c)} }

// Ask asks for what want says and decodes the answer into v. After an error the feed is
// of no more use.
func (f *Feed) Ask(want byte, v any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.c.Write([]byte{want}); err != nil {
		return fmt.Errorf("ask for numbers: %w", err)
	}
	var line []byte
	for {
		part, err := f.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			if err := json.Unmarshal(line, v); err != nil {
				return fmt.Errorf("read numbers: %w", err)
			}
			return nil
		case err != bufio.ErrBufferFull:
			return fmt.Errorf("read numbers: %w", noEOF(err))
		case len(line) > maxFeedLine:
			return fmt.Errorf("read numbers: more than %d bytes", maxFeedLine)
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
