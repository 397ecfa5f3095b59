package supervisor

import (
	"context"
	"fmt"
	"path"
	"strconv"

	"cofferdam/executor"
	"cofferdam/manifest"
)

// volumesDir is where a spare sees the volumes of whom it has become, each under a number. Nobody
// inside can write there, and what Landlock lets it write to lies beneath: a rule for
// the place of a volume itself would be for what is hidden once it is mounted.
const volumesDir = "/run/cofferdam/volumes"

// laterOf is what a spare of svc has in place of its volumes: links to where they will be, which
// lead nowhere until then.
func laterOf(svc *manifest.Service) (mounts []executor.Mount) {
	if !pooled(svc) || len(svc.Volumes) == 0 {
		return nil
	}
	// What each volume may hold is asked when it is mounted.
	points := executor.Mount{Kind: executor.MountPoints, Target: volumesDir, SizeBytes: executor.Unlimited}
	for i, v := range svc.Volumes {
		points.Writable = points.Writable || !v.ReadOnly
		mounts = append(mounts, executor.Mount{Kind: executor.MountSymlink, Source: laterAt(i), Target: v.To})
	}
	return append(mounts, points)
}

func laterAt(i int) string { return path.Join(volumesDir, strconv.Itoa(i)) }

// mountLater shows a spare that has become somebody's its volumes, before anything that it
// has asked for is answered.
func (in *instance) mountLater(ctx context.Context, volumes []volume) error {
	if !pooled(in.svc) {
		return nil // it has had them from the start
	}
	for i, v := range volumes {
		err := in.proc.Mount(ctx, executor.Share{
			Volume: v.monitored.Name, Target: laterAt(i), Writable: v.monitored.Writable, SizeBytes: v.SizeBytes, Inodes: v.Inodes,
		})
		if err != nil {
			return fmt.Errorf("volume %q: %w", v.monitored.Name, err)
		}
	}
	return nil
}
