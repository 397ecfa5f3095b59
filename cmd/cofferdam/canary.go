package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cofferdam/audit"
	"cofferdam/executor"
	"cofferdam/executor/canary"
)

// prove has a canary try what must not work, in an environment of exec. The error is that something worked, or that
// it could not be found out.
func prove(exec executor.Executor, o canary.Options) (canary.Report, error) {
	r, err := canary.Prove(context.Background(), exec, o)
	if err != nil {
		return r, err
	}
	return r, r.Err()
}

// canaryOptions reads what the executable self needs, and so is called while we
// may. dir is one of ours, for what the canary must not reach.
func canaryOptions(self, dir string, allowDegraded []string) (canary.Options, error) {
	runtime, err := runtimeFor(self)
	if err != nil {
		return canary.Options{}, fmt.Errorf("canary: %w", err)
	}
	return canary.Options{
		Program: self, Args: []string{roleCanary}, Runtime: runtime != "", Dir: dir, AllowDegraded: allowDegraded,
	}, nil
}

// canaryRecord is what the audit log keeps of it.
func canaryRecord(r canary.Report, err error) audit.Record {
	record := audit.Record{Kind: audit.KindApp, Op: "canary", Object: "held", Detail: r.String()}
	if err != nil {
		record.Object, record.Detail = "not held", err.Error()
	}
	return record
}

// notKept is the error of an application that is not started, with its exit code.
// without is how to say that a missing protection may be missing.
func notKept(err error, all []executor.Protection, without string) error {
	if errors.Is(err, executor.ErrUnsupported) {
		for _, p := range all {
			if p.Status == executor.Fail && strings.HasSuffix(p.Name, "-namespace") {
				return err // nothing can be made without one
			}
		}
		return fmt.Errorf("%w\nto go without: %s; cofferdam doctor lists what is missing", err, without)
	}
	return &exitError{code: codeNotKept, err: fmt.Errorf("%w\nnothing was started; what holds and what does not: cofferdam doctor --prove", err)}
}
