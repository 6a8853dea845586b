"""`fastslow acp`: an agent for editors, over the Agent Client Protocol (https://agentclientprotocol.com), version 1."""
