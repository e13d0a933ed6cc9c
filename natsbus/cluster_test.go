package natsbus_test

import (
	"testing"

	"github.com/marketprism/marketprism/natsbus/internal/bustest"
)

func TestInCluster(t *testing.T) {
	bustest.RunInCluster(t, map[string]func(*testing.T){
		"two publishers":      TestTwoPublishersStoreEachRecordOnce,
		"restarts under load": TestServerRestartsUnderLoad,
		"every kind":          TestEveryKindArrivesExactlyAndInOrder,
		"killed consumer":     TestKilledConsumerIsResumed,
	})
}
