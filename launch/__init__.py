"""Every way to start and watch a screen: command line, local runner, clusters."""
