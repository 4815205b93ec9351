"""The finetune room: turns what was said into adapters.

A set is read (`channel_log`, `alpaca`) into examples of messages, encoded by the prompt format that
serves (`dataset`), learnt by TRL and PEFT (`train`), checked and published (`publishing`).
"""
