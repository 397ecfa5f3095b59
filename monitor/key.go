package monitor

// Key says which instance of a service is the one that a caller gets, of one that
// has its instances per label or per principal: the instance that was started with it, and
// never one that was started with another.
type Key struct {
	Principal string // for whom it runs; "" for nobody
	Flow      Flow   // what it starts with
}
