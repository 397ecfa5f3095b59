package audit

import (
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Checkpoint is what the log says of itself in a record of kind checkpoint. The
// record's number is one more than the count of those that it covers, and its prev is
// the hash of the last of them.
type Checkpoint struct {
	Why     Why    `json:"why"`
	Segment uint64 `json:"segment"` // the one that it was written to, from 1
	Begin   uint64 `json:"begin"`   // the first record that the log still has to have: 1 until rotation deletes some
	After   uint64 `json:"after"`   // number of the checkpoint before, 0 for none
	Key     string `json:"key"`     // the public key
	Sig     string `json:"sig"`     // the signature, in hex, of this line with nothing in these quotes
}

// Why a checkpoint was written.
type Why string

// The reasons.
const (
	WhyBegin  Why = "begin"  // it is the first record
	WhyCount  Why = "count"  // so many records came after the last one
	WhyTime   Why = "time"   // it was so long ago
	WhyClose  Why = "close"  // nothing more comes from this process
	WhyOpen   Why = "open"   // the log had not been closed: nobody vouches for what stands between the last one and this
	WhyRotate Why = "rotate" // the log goes on in another segment
	WhyDrop   Why = "drop"   // what stands before Begin is about to be deleted
)

// When checkpoints are written, unless [Options] say something else. MaxEvery bounds
// what they may say, and so what a crash leaves without one.
const (
	DefaultEvery    = 1000
	MaxEvery        = 10_000
	DefaultInterval = 10 * time.Second
)

// checkpoint signs what was recorded so far. The caller holds mu.
func (l *Log) checkpoint(why Why) {
	if l.failed() != nil {
		return
	}
	c := Checkpoint{Why: why, Segment: l.segment, Begin: l.begin, After: l.signed, Key: l.key.String()}
	r := Record{Seq: l.seq + 1, Time: l.now(), Kind: KindCheckpoint, Degraded: l.weak, Checkpoint: &c}
	start := len(l.buf)
	l.buf = appendRecord(l.buf, &r, l.prev[:])
	c.Sig = hex.EncodeToString(ed25519.Sign(l.signer, l.buf[start:]))
	l.buf = appendRecord(l.buf[:start], &r, l.prev[:])
	l.seq = r.Seq
	l.prev = hashLine(l.buf[start:])
	l.signed = r.Seq
	l.unsigned = 0
	l.last = why
}

// signTick is what the timer of checkpoints does.
func (l *Log) signTick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signing = false
	if l.unsigned > 0 {
		l.checkpoint(WhyTime)
		l.flush()
	}
}

// errSignature says that a checkpoint is not what was signed.
var errSignature = errors.New("its signature does not hold")

// signedBy is the key that signed the checkpoint r, which is one.
func signedBy(r *Record) (Key, error) {
	k, err := ParseKey(r.Checkpoint.Key)
	if err != nil {
		return k, fmt.Errorf("its key is %w", err)
	}
	sig, err := hex.DecodeString(r.Checkpoint.Sig)
	if err != nil || len(sig) != ed25519.SignatureSize || hex.EncodeToString(sig) != r.Checkpoint.Sig {
		return k, errSignature
	}
	c := *r.Checkpoint
	c.Sig = ""
	bare := *r
	bare.Checkpoint = &c
	if !ed25519.Verify(k[:], appendRecord(nil, &bare, []byte(r.Prev)), sig) {
		return k, errSignature
	}
	return k, nil
}
