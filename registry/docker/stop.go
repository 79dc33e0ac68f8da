package docker

import (
	"context"
	"time"

	"github.com/moby/moby/client"
)

// stopAnswer is how long an engine may take to stop a container beyond the container's own time.
const stopAnswer = 10 * time.Minute

// Stop stops a container like docker stop: by its stop signal, and after its own time by SIGKILL.
func (r *Registry) Stop(ctx context.Context, id string) error {
	e, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	e.limit = stopAnswer
	_, err = call(ctx, e, "stop container "+id[:min(len(id), 12)], func(ctx context.Context) (client.ContainerStopResult, error) {
		return e.ContainerStop(ctx, id, client.ContainerStopOptions{})
	})
	return err
}
