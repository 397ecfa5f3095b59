package monitor

func benchRole(role string) error { return nil }
